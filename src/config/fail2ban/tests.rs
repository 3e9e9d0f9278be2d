//! Whole trees, jail by jail.

use expect_test::{Expect, expect};

use super::testing::write_tree;
use super::*;

/// Loads a tree and prints each jail, what is disabled, and what is wrong.
fn check(files: &[(&str, &str)], expected: Expect) {
    let folder = write_tree(files);
    let loaded = load(&Roots::dir(folder.path()));
    let mut shown = String::new();
    for jail in &loaded.jails {
        shown += &show(jail);
    }
    for name in &loaded.disabled {
        shown += &format!("{name}: disabled\n");
    }
    for error in &loaded.errors {
        let jail = error.jail.as_deref().unwrap_or("-");
        let word = if error.is_warning() {
            "warning"
        } else {
            "error"
        };
        shown += &format!("{jail}: {word}: {error}\n");
    }
    let base = folder.path().display().to_string();
    let shown = shown.replace(&format!("{base}/"), "");
    expected.assert_eq(&shown.replace(&base, "TREE"));
}

/// What differs from a jail in which nothing is set.
fn show(jail: &JailText) -> String {
    let mut shown = format!(
        "{} line {}: {} of {:?} for {:?}\n",
        jail.name, jail.origin.1, jail.maxretry, jail.findtime, jail.bantime
    );
    let mut line = |name: &str, text: String| shown += &format!("  {name} {text}\n");
    for path in &jail.logpath {
        line("log", format!("{} tail={}", path.path, path.tail));
    }
    let filter = &jail.filter_text;
    for (name, pattern) in [("prefix", &filter.prefregex), ("date", &filter.datepattern)] {
        if let Some(pattern) = pattern {
            line(name, format!("{pattern:?}"));
        }
    }
    filter
        .failregex
        .iter()
        .for_each(|pattern| line("fail", pattern.clone()));
    filter
        .ignoreregex
        .iter()
        .for_each(|pattern| line("ignore", pattern.clone()));
    for words in &filter.journalmatch {
        line("journal", words.join(" | "));
    }
    if filter.maxlines != 1 {
        line("maxlines", filter.maxlines.to_string());
    }
    for key in OUR_KEYS {
        if let Some(text) = filter.extra.get(*key) {
            line(key, text.clone());
        }
    }
    if !jail.ignoreip.is_empty() {
        line("ignoreip", jail.ignoreip.join(" "));
    }
    if let Some(cache) = &jail.ignorecache {
        line("cache", format!("{cache:?}"));
    }
    if jail.bantime_increment.enabled {
        line("increment", format!("{:?}", jail.bantime_increment));
    }
    for action in &jail.actions {
        line(
            "action",
            format!("{} = {}", action.name, action.file.display()),
        );
        for (name, text) in &action.properties {
            line("  ", format!("{name} = {text}"));
        }
    }
    shown
}

#[test]
fn a_jail_with_everything() {
    check(
        &[
            (
                "jail.conf",
                "[DEFAULT]
                 findtime = 10m
                 ignoreip = 127.0.0.1/8, ::1
                 action = %(banaction)s[port=%(port)s]
                 banaction = block[chain=\"SIP, %(__name__)s\"]
                 port = 5060
                 [asterisk]
                 logpath = /var/log/asterisk/full
                    /var/log/asterisk/sec*.log tail
                 bantime = -1
                 "
                .replace("\n                 ", "\n")
                .leak(),
            ),
            (
                "jail.local",
                "[asterisk]
enabled = yes
filter = asterisk[mode=strict]
maxretry = 4
failregex = %(known/failregex)s
   ^more from <HOST>
journalmatch = _SYSTEMD_UNIT=asterisk.service + '_COMM=a b'
ignorecache = key=\"<ip>\", max-count=100, max-time=1h
bantime.increment = true
bantime.factor = 2.0 / 4
bantime.formula = ban.Time * ban.Count
bantime.multipliers = 1 5 30
bantime.maxtime = 5w
successregex = ^ok from <HOST>
",
            ),
            (
                "filter.d/asterisk.conf",
                "[INCLUDES]
before = common.conf
[Definition]
prefregex = ^<__prefix>\\s<F-CONTENT>.+</F-CONTENT>$
failregex = <re-<mode>>
re-normal = ^normal from <HOST>
re-strict = <re-normal>
   ^strict from <HOST>
ignoreregex =
datepattern = %%Y-%%m-%%d
[Init]
mode = normal
maxlines = 2
",
            ),
            (
                "filter.d/common.conf",
                "[DEFAULT]\n__prefix = \\[<logtype>\\]\n",
            ),
            (
                "action.d/block.conf",
                "[Definition]
actionban = block <ip> <port> <chain> <bantime> <type>
actionstart = start <port> by <name>
norestored = yes
[Init]
type = DROP
port = 1
[Init?family=inet6]
type = DROP6
",
            ),
        ],
        expect![[r#"
            asterisk line 7: 4 of 600s for Forever
              log /var/log/asterisk/full tail=false
              log /var/log/asterisk/sec*.log tail=true
              prefix "^\\[file\\]\\s<F-CONTENT>.+</F-CONTENT>$"
              date "%Y-%m-%d"
              fail ^normal from <HOST>
              fail ^strict from <HOST>
              fail ^more from <HOST>
              journal _SYSTEMD_UNIT=asterisk.service | + | _COMM=a b
              maxlines 2
              successregex ^ok from <HOST>
              ignoreip 127.0.0.1/8 ::1
              cache IgnoreCache { key: "<ip>", max_count: 100, max_time: 3600s }
              increment Increment { enabled: true, factor: 0.5, formula: Some("ban.Time * ban.Count"), multipliers: [1, 5, 30], maxtime: Some(3024000s), rndtime: None, overalljails: false }
              action block = block
                 actionban = block <ip> 5060 SIP, asterisk <bantime> <type>
                 actionstart = start 5060 by asterisk
                 actname = block
                 chain = SIP, asterisk
                 name = asterisk
                 norestored = true
                 port = 5060
                 type = DROP
                 type?family=inet6 = DROP6
        "#]],
    );
}

#[test]
fn one_bad_jail_never_stops_the_others() {
    check(
        &[
            (
                "jail.conf",
                "[DEFAULT]
enabled = true
failregex = <HOST>
action = a
[filter]
filter = asterisc
[options]
filter = asterisk[mode=x y=z]
[percent]
bantime = 5%
[unknown]
logpath = %(log_dir)s/full
[numbers]
maxretry = three
findtime = 1 fortnight
bantime.increment = 1
bantime.formula = os.exit()
bantime.multipliers = 1 2 x
[twice]
action = a
  a
[noaction]
action = b
[line]
ignoreip = 192.0.2.1
192.0.2.2
[good]
[off]
enabled = false
action = %(nowhere)s
",
            ),
            (
                "filter.d/asterisk.conf",
                "[Definition]\nfailregex = <HOST>\n",
            ),
            ("action.d/a.conf", "[Definition]\nactionban = x\n"),
        ],
        expect![[r#"
            options line 7: 3 of 600s for For(600s)
              fail <HOST>
              action a = a
                 actionban = x
                 actname = a
                 name = options
            good line 27: 3 of 600s for For(600s)
              fail <HOST>
              action a = a
                 actionban = x
                 actname = a
                 name = good
            off: disabled
            line: error: jail.conf:26: `192.0.2.2` is neither `[section]` nor `option = value`; indent it if it continues the line above
            filter: error: jail.conf:6: `filter = asterisc`: there is no filter.d/asterisc.conf; did you mean `asterisk`?
            percent: error: jail.conf:10: `bantime`: `%` in `%` must be `%%` or begin `%(option)s`
            unknown: error: jail.conf:12: `logpath` refers to `%(log_dir)s`, which is set neither in this section nor in [DEFAULT]
            numbers: error: jail.conf:14: `maxretry = three` is not a number from 1 to 1000000
            numbers: error: jail.conf:15: `findtime = 1 fortnight` is not a duration (`fortnight` has no meaning there; units are s, m, h, d, w, mo, y, with + - * / and parentheses); write seconds, or units as in `1d 12h`
            numbers: error: jail.conf:17: `bantime.formula = os.exit()` cannot be computed: `os.exit` has no meaning there; a formula has numbers, ban.Time, ban.Count, banFactor, + - * / // % ** << >>, comparisons, `a if b else c`, min max int float abs round pow, math.exp and its like
            numbers: error: jail.conf:18: `bantime.multipliers = 1 2 x` cannot be computed: `x` is not a whole number; write `1 2 4 8`
            twice: error: jail.conf:20: the action `a` is there already; tell the two apart with `[actname=…]` or `[name=…]`
            noaction: error: jail.conf:23: `action = b`: there is no action.d/b.conf; write the name of one that is there
        "#]],
    );
}

#[test]
fn a_broken_filter_file_is_its_jails_error() {
    check(
        &[
            (
                "jail.conf",
                "[DEFAULT]\nenabled=1\naction=\n[a]\nfilter=a\n[b]\nfilter=b\n[c]\nfilter=c\n",
            ),
            (
                "filter.d/a.conf",
                "[Definition]\nfailregex = a\nfailregex = <HOST>\n",
            ),
            (
                "filter.d/b.conf",
                "[Definition]\nfailregex = a\n^<HOST> b\n",
            ),
            (
                "filter.d/c.conf",
                "[Definition]\nfailregex = <x>\nx = <y>\ny = <x>\n",
            ),
        ],
        expect![[r#"
            a line 4: 3 of 600s for For(600s)
              fail <HOST>
            -: warning: filter.d/a.conf:3: `failregex` was set in [Definition] on line 2 already; this one counts, fail2ban would not start
            a: warning: jail.conf:4: the jail has no action: it will ban in our books only; write `action = NAME`
            b: error: filter.d/b.conf:3: `^<HOST> b` is neither `[section]` nor `option = value`; indent it if it continues the line above
            c: error: filter.d/c.conf:2: `failregex`: the tag `<x>` leads back to itself or comes back more than 25 times
        "#]],
    );
}

#[test]
fn a_broken_line_in_default_refuses_all_jails() {
    check(
        &[(
            "jail.local",
            "[DEFAULT]\nignoreip = 192.0.2.1\n192.0.2.2\n[a]\nenabled = true\n[b]\n",
        )],
        expect![[r#"
            b: disabled
            -: error: jail.local:3: `192.0.2.2` is neither `[section]` nor `option = value`; indent it if it continues the line above
            a: error: jail.local:4: the jail cannot run as meant while `jail.local` line 3 cannot be read
        "#]],
    );
    check(
        &[("fail2ban.conf", "[DEFAULT]\n")],
        expect![[r#"
            -: error: TREE: there is neither `jail.conf` nor `jail.local` nor anything in `jail.d`
        "#]],
    );
}

#[test]
fn built_in_jails_with_local_changes() {
    const OURS: EmbeddedFiles = &[
        ("jail.conf", "[ours]\nenabled = true\nmaxretry = 5\n"),
        (
            "filter.d/ours.conf",
            "[Definition]\nfailregex = ours <HOST>\n",
        ),
    ];
    let folder = write_tree(&[
        ("jail.local", "[ours]\nmaxretry = 9\n"),
        ("jail.d/mine.conf", "[mine]\nfilter = ours\n"),
        (
            "filter.d/ours.local",
            "[Definition]\nfailregex = %(known/failregex)s\n   ^mine <HOST>\n",
        ),
    ]);
    let roots = Roots(vec![
        Root::Embedded(OURS),
        Root::Dir(folder.path().to_owned()),
    ]);
    let loaded = load(&roots);
    assert_eq!(loaded.jails.len(), 1);
    assert_eq!(loaded.jails[0].maxretry, 9);
    assert_eq!(loaded.jails[0].origin, ("built-in/jail.conf".into(), 1));
    assert_eq!(loaded.disabled, ["mine"]);
    let filter = load_filter(&roots, "ours[x=1]", "auto").unwrap();
    assert_eq!(filter.failregex, ["ours <HOST>", "^mine <HOST>"]);
    let error = load_filter(&roots, "nix", "auto").unwrap_err();
    assert!(error.to_string().contains("there is no"), "{error}");
}

#[test]
fn a_filter_out_of_one_file() {
    let folder = write_tree(&[
        (
            "my.conf",
            "[INCLUDES]\nbefore = beside.conf\n[Definition]\nfailregex = <_x> <mode> <logtype>\n",
        ),
        ("beside.conf", "[DEFAULT]\n_x = X\n[Init]\nmode = m\n"),
    ]);
    let nowhere = Roots::dir("/nonexistent");
    let entry = format!("{}[mode=\"a, b\"]", folder.path().join("my.conf").display());
    let (filter, _) = load_filter_options(&nowhere, &entry, true).unwrap();
    assert_eq!(filter.failregex, ["X a, b file"]);
    assert!(load_filter(&nowhere, &entry, "auto").is_err());
}

/// Whatever stands in the files, reading them ends, and without a panic.
#[test]
fn no_text_is_too_strange() {
    use proptest::prelude::*;
    let piece = prop_oneof![
        "[a-c]",
        Just("=".to_owned()),
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just("[a]\n".to_owned()),
        Just("[Definition]\n".to_owned()),
        Just("[Init?family=inet6]\n".to_owned()),
        Just("failregex = <a> %(b)s\n".to_owned()),
        Just("%(known/failregex)s".to_owned()),
        Just("<known/a><<b>>".to_owned()),
        Just("filter = f[a=\"b\", c=']\n".to_owned()),
        Just("action = a[b=c][c='<a>']\n".to_owned()),
        Just("bantime = 1d12h**9\n".to_owned()),
        Just("[INCLUDES]\nbefore = jail.conf\nafter = ../x\n".to_owned()),
        ".{0,4}",
    ];
    let text = proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    let texts = proptest::collection::vec(text, 5);
    let config = ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(texts in texts)| {
        let mut files = std::collections::BTreeMap::new();
        let names = ["jail.local", "filter.d/f.conf", "filter.d/f.local", "action.d/a.conf", "fail2ban.conf"];
        for (name, text) in names.into_iter().zip(texts) {
            files.insert(name.to_owned(), text);
        }
        files.insert("jail.conf".to_owned(), "[a]\nenabled = 1\nfilter = f\naction = a\n".to_owned());
        let loaded = load(&Roots(vec![Root::Texts(files)]));
        prop_assert!(loaded.jails.len() <= 3, "{} jails", loaded.jails.len());
        for error in &loaded.errors {
            prop_assert!(!error.to_string().is_empty());
        }
    });
}
