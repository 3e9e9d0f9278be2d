//! Trees out of a seed: overrides, includes, references, options, conditions, durations,
//! and now and then a mistake.

use std::fs;
use std::path::Path;

use crate::dice::Dice;

const JAILS: &[&str] = &["alpha", "beta", "Gamma", "delta-4"];
const FILTERS: &[&str] = &["plain", "layered", "moded", "bare"];
const ACTIONS: &[&str] = &["block", "mail", "cond"];
const DURATIONS: &[&str] = &[
    "600",
    "10m",
    "1d12h",
    "2w 3d",
    "3600*2",
    "-1",
    "1.5h",
    "1year-6mo",
];
const WORDS: &[&str] = &[
    "one",
    "two words",
    "a=b",
    "x:y",
    "5060",
    "it's",
    "\"quoted\"",
    "back\\slash",
    "^a.*<HOST>$",
    "#hash",
    "a;b",
    "ünïcode",
    "<ip>",
    "(?:x|y)",
    "50%%",
    "$HOME",
];

/// Writes the tree of a seed into a folder.
pub(crate) fn tree(seed: u64, folder: &Path) {
    let mut maker = Maker {
        dice: Dice(seed),
        folder,
    };
    maker.globals();
    maker.jails();
    for name in FILTERS {
        maker.filter(name);
    }
    for name in ACTIONS {
        maker.action(name);
    }
    if maker.dice.chance(15) {
        maker.mistake();
    }
}

struct Maker<'a> {
    dice: Dice,
    folder: &'a Path,
}

impl Maker<'_> {
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        // Windows editors are used in this world.
        let crlf = text.len().is_multiple_of(11);
        let text = if crlf {
            text.replace('\n', "\r\n")
        } else {
            text.to_owned()
        };
        fs::write(path, text).expect("a file");
    }

    /// `name = value` in one of its spellings, with comments around.
    fn option(&mut self, name: &str, value: &str) -> String {
        let sign = self.dice.pick(&["=", " = ", ": ", " : ", "= "]);
        let name = if self.dice.chance(10) {
            name.to_uppercase()
        } else {
            name.to_owned()
        };
        let mut line = format!("{name}{sign}{value}");
        if self.dice.chance(8) {
            line += " ; a word";
        }
        if self.dice.chance(8) {
            line += "\n# a comment";
        }
        line + "\n"
    }

    /// A value: words, references to `v0`…`v(depth-1)` and to other places.
    fn value(&mut self, depth: usize) -> String {
        let mut value = self.dice.pick(WORDS).to_owned();
        for _ in 0..self.dice.below(3) {
            value.push_str(self.dice.pick(&[
                "",
                " ",
                "/",
                "\n   ",
                "\n\n\t",
                "\n  # not this\n  ",
            ]));
            if depth > 0 && self.dice.chance(50) {
                let target = self.dice.below(depth);
                let place = self
                    .dice
                    .pick(&["", "", "", "default/", "known/", "alpha/", "Plain/"]);
                // A section that is not there, and one whose name has capitals, break a tree.
                let place = if place == "Plain/" { "" } else { place };
                value += &format!("%({place}v{target})s");
            } else {
                value += self.dice.pick(WORDS);
            }
        }
        value
    }

    fn globals(&mut self) {
        let section = self.dice.pick(&["DEFAULT", "Definition"]);
        let mut text = format!("[{section}]\n");
        for (name, values) in [
            ("loglevel", &["INFO", "DEBUG", "5"][..]),
            (
                "logtarget",
                &["SYSLOG", "/var/log/x.log", "STDOUT[format=\"%%s\"]"],
            ),
            ("dbfile", &["None", ":memory:"]),
            ("dbmaxmatches", &["7", " 0 "]),
            ("dbpurgeage", &["1d", "86400"]),
            ("allowipv6", &["auto", "no"]),
            ("socket", &["/run/x.sock"]),
        ] {
            if self.dice.chance(60) {
                let value = self.dice.pick(values);
                text += &self.option(name, value);
            }
        }
        text += "[Definition]\n"
            .strip_prefix(&format!("[{section}]\n"))
            .unwrap_or("[Definition]\n");
        if self.dice.chance(30) {
            text += "[Thread]\nstacksize = 5\n";
        }
        self.write("fail2ban.conf", &text);
        if self.dice.chance(40) {
            self.write("fail2ban.local", "[Definition]\nloglevel = NOTICE\n");
        }
    }

    fn jails(&mut self) {
        let mut text = String::new();
        if self.dice.chance(60) {
            text += "[INCLUDES]\nbefore = paths.conf\n   missing.conf\nafter = last.conf\n";
            let paths = self.variables();
            self.write("paths.conf", &format!("[DEFAULT]\n{paths}"));
            if self.dice.chance(50) {
                let local = self.variables();
                self.write(
                    "paths.local",
                    &format!("[INCLUDES]\nafter = more.conf\n[DEFAULT]\n{local}"),
                );
            }
            self.write("more.conf", "[DEFAULT]\nv0 = more\n[beta]\nmore = %(v0)s\n");
            self.write("last.conf", "[alpha]\nv1 = last\n[DEFAULT]\nlast = 1\n");
        }
        text += "[DEFAULT]\n";
        text += &(0..5)
            .map(|i| format!("v{i} = base{i}\n"))
            .collect::<String>();
        text +=
            "port = 5060,5061\nmode = normal\nbackend = polling\nbanaction = block\nmaxretry = 5\n";
        text += "act_ = %(banaction)s[name=%(__name__)s, port=\"%(port)s\"]\n";
        text += "mta = sendmail\naction = %(act_)s\n";
        for name in JAILS {
            text += &self.jail(name, true);
        }
        self.write("jail.conf", &text);
        for file in [
            "jail.local",
            "jail.d/10-x.conf",
            "jail.d/20-y.conf",
            "jail.d/x.local",
        ] {
            if !self.dice.chance(45) {
                continue;
            }
            let mut text = String::new();
            if self.dice.chance(50) {
                text += "[DEFAULT]\n";
                text += &self.variables();
            }
            for name in JAILS {
                if self.dice.chance(50) {
                    text += &self.jail(name, false);
                }
            }
            self.write(file, &text);
        }
    }

    fn variables(&mut self) -> String {
        let mut text = String::new();
        for i in 0..5 {
            if self.dice.chance(40) {
                let value = self.value(i);
                text += &self.option(&format!("v{i}"), &value);
            }
        }
        text
    }

    fn jail(&mut self, name: &str, first: bool) -> String {
        let mut text = format!("[{name}]\n");
        if first || self.dice.chance(20) {
            let word = self
                .dice
                .pick(&["true", "yes", "1", "on", "TRUE", "no", "false"]);
            text += &self.option("enabled", word);
        }
        text += &self.variables();
        if self.dice.chance(if first { 90 } else { 20 }) {
            let filter = self.filter_entry();
            text += &self.option("filter", &filter);
        }
        if self.dice.chance(50) {
            let backend =
                self.dice
                    .pick(&["auto", "systemd", "polling", "systemd[journalflags=1]"]);
            text += &self.option("backend", backend);
        }
        for (option, values) in [
            (
                "maxretry",
                &["3", "5", " 7", "1_0", "+4", "3", "2", "x"][..],
            ),
            ("maxmatches", &["%(maxretry)s", "2"]),
            ("findtime", DURATIONS),
            ("bantime", DURATIONS),
            ("bantime.increment", &["true", "no"]),
            ("bantime.factor", &["1", "2.0 / 2.885385"]),
            (
                "bantime.formula",
                &["ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor"],
            ),
            ("bantime.multipliers", &["1 2 4 8"]),
            ("bantime.maxtime", DURATIONS),
            ("bantime.rndtime", DURATIONS),
            ("bantime.overalljails", &["true", "false"]),
            ("ignorecommand", &["", "/bin/x <ip>"]),
            ("ignoreself", &["true", "false", "maybe"]),
            (
                "ignoreip",
                &[
                    "127.0.0.1/8 ::1",
                    "192.0.2.1,\n  192.0.2.2 , host.example",
                    "",
                ],
            ),
            ("ignorecache", &["key=\"<ip>\", max-count=100, max-time=5m"]),
            ("logtimezone", &["UTC+0200", "UTC"]),
            ("logencoding", &["auto", "utf-8"]),
            (
                "logpath",
                &[
                    "/etc/passwd",
                    "/etc/pass*d tail\n  /etc/group head",
                    "/nix/*\n  /etc/passwd",
                ],
            ),
            ("usedns", &["warn", "no", "raw"]),
            ("maxlines", &["1", "10"]),
            ("datepattern", &["%%Y-%%m-%%d", "{^LN-BEG}"]),
            ("prefregex", &["^<F-CONTENT>.+</F-CONTENT>$"]),
            (
                "ignoreregex",
                &["", "^ignored <HOST>\n   ^too", "%(known/ignoreregex)s"],
            ),
            ("journalmatch", &["_A=1 + _B='x y'", "_A=1\n   _B=2"]),
            ("skip_if_nologs", &["true"]),
            ("unknown", &["5"]),
        ] {
            if self.dice.chance(22) {
                // `known/…` of an option that nobody has breaks the tree.
                let value = self.dice.pick(values);
                let value = if value.contains("known/") { "" } else { value };
                text += &self.option(option, value);
            }
        }
        if self.dice.chance(15) {
            let value = format!(
                "^own <HOST>\n  {}",
                self.dice.pick(&["^more", "%(known/failregex)s"])
            );
            let value = if text.to_lowercase().contains("filter") && first {
                value
            } else {
                "^own <HOST>".to_owned()
            };
            text += &self.option("failregex", &value);
        }
        if self.dice.chance(35) {
            let value = self.action_entries();
            text += &self.option("action", &value);
        }
        text
    }

    fn filter_entry(&mut self) -> String {
        let name = self.dice.pick(FILTERS);
        let options = self.dice.pick(&[
            "",
            "",
            "[mode=extra]",
            "[mode=%(mode)s]",
            "[mode=\"extra\", other='it is \"q\", here]']",
            "[mode=normal][mode=extra]",
            "[failregex=\"^given <HOST>\"]",
            "[__prefix=\"p-<mode>\", maxlines=4]",
            "[logtype=short]",
            "[ mode=extra , other=\"line\n   two\" ]",
            "[]",
        ]);
        format!("{name}{options}")
    }

    fn action_entries(&mut self) -> String {
        let mut value = String::new();
        for number in 0..self.dice.below(4) {
            let name = self.dice.pick(ACTIONS);
            let options = self.dice.pick(&[
                "",
                "[port=%(port)s]",
                "[name=%(__name__)s-two, chain=\"A B\"]",
                "[name=other]",
                "[actname=third, dest='x@example.org, y']",
                "[chain=INPUT]\n     [port=\"1, 2\"]",
                "[chain=\"<known/chain>\"]",
                "[actionban=\"given <ip>\", norestored=1]",
                "[bantime=5, timeout=3]",
            ]);
            if number > 0 {
                value += self.dice.pick(&["\n   ", "\n\n   ", " "]);
            }
            value += &format!("{name}{options}");
        }
        if self.dice.chance(10) {
            value += "\n   custom.py[a=1, b=\"ü\"]";
        }
        value
    }

    fn filter(&mut self, name: &str) {
        let include = self.dice.chance(60);
        let mut text = String::new();
        if include {
            text += "[INCLUDES]\nbefore = common.conf\n";
        }
        text += "[DEFAULT]\n_daemon = srv\n__prefix = [<logtype>]<_daemon>\n";
        text += "[Definition]\n";
        let pattern = self.dice.pick(&[
            "^<__prefix> fail <HOST>",
            "^<re-<mode>> from <ADDR>$\n    ^<F-USER>\\S+</F-USER> <HOST>",
            "%(__prefix)s x <HOST>\n   <re-extra>",
            "^<re-<mode>>|<short/line>|<known/note>",
            "^<re-<re-<mode>>> < mode> <<mode>> <> <no-<mode>-such> <F-ID><known/mode></F-ID>",
            "^<mode><mode><mode> <Init/mode> <other> <OTHER> <port> <maxretry> <enabled> <filter>",
            "^%(port)s %(maxretry)s <nosuch/x> <lower-<NOTE>> <logpath>",
            "",
        ]);
        text += &self.option("failregex", pattern);
        text += "re-normal = normal <note>\nre-extra = <re-normal>(?:extra)\nnote = N\n";
        for (option, values) in [
            ("ignoreregex", &["", "^no <HOST>\n   ^nor <mode>"][..]),
            ("prefregex", &["^<__prefix>\\s<F-CONTENT>.+</F-CONTENT>$"]),
            ("datepattern", &["%%d/%%b %%H:%%M:%%S", "<note>"]),
            ("maxlines", &["2", "<lines>"]),
            (
                "journalmatch",
                &["_SYSTEMD_UNIT=<_daemon>.service + _COMM=\"a b\""],
            ),
            ("usedns", &["no"]),
            ("lines", &["3"]),
            ("logtype", &["short"]),
            ("_private", &["%(note)s <logtype>"]),
            ("host", &["h"]),
            ("mode", &["extra", "<logtype>"]),
            ("re-file", &["file mode <known/mode>"]),
        ] {
            if self.dice.chance(30) {
                let value = self.dice.pick(values);
                text += &self.option(option, value);
            }
        }
        text += "[short]\nline = short-%(_daemon)s\n";
        let mode = self.dice.pick(&["normal", "extra"]);
        text += &format!("[Init]\nmode = {mode}\nport = any\n");
        if self.dice.chance(20) {
            text += "maxlines = 6\n";
        }
        self.write(&format!("filter.d/{name}.conf"), &text);
        self.write(
            "filter.d/common.conf",
            "[INCLUDES]\nafter = common-after.conf\n[DEFAULT]\nlines = 5\n_daemon = none\n[Definition]\nnote = from common\nshared = 1\n",
        );
        if self.dice.chance(20) {
            self.write("filter.d/common.local", "[DEFAULT]\n_daemon = local\n");
        }
        for file in [
            format!("filter.d/{name}.local"),
            format!("filter.d/{name}.d/x.conf"),
        ] {
            if self.dice.chance(25) {
                let value = self
                    .dice
                    .pick(&["%(known/failregex)s\n   ^added <HOST>", "^instead <HOST>"]);
                // A second `known/note` would refer to itself.
                let note = if file.ends_with(".local") {
                    "%(known/note)s+"
                } else {
                    "note"
                };
                let text = format!("[Definition]\nfailregex = {value}\nnote = {note}\n");
                self.write(&file, &text);
            }
        }
    }

    fn action(&mut self, name: &str) {
        let mut text = String::from("[INCLUDES]\nbefore = base.conf\n[Definition]\n");
        for (option, values) in [
            ("actionstart", &["start <name> <port>\n   <start2>", ""][..]),
            ("actionstart_on_demand", &["true", "no"]),
            ("actionstop", &["stop <chain> <actname>"]),
            ("actionflush", &["flush <name>"]),
            ("actionreload", &["reload"]),
            ("actioncheck", &["check <chain>", ""]),
            ("actionrepair", &["repair"]),
            ("actionrepair_on_unban", &["1"]),
            (
                "actionban",
                &[
                    "ban <ip> <port> <matches> <bantime> <blocktype>",
                    "%(_ban)s -- <_ban>",
                ],
            ),
            ("actionprolong", &["%(actionban)s prolong"]),
            ("actionreban", &["<actionban> again"]),
            ("actionunban", &["unban <ip> <F-USER> <timeout>"]),
            ("norestored", &["1", "false"]),
            ("timeout", &["5"]),
        ] {
            if self.dice.chance(50) {
                // A reference to an option that the file may lack breaks the tree.
                let value = self.dice.pick(values).replace("%(actionban)s", "%(_ban)s");
                text += &self.option(option, &value);
            }
        }
        text += "_ban = do <ip> <chain> <logpath>\nstart2 = second\n";
        text += "[Init]\nchain = CHAIN\nport = 1:65535\nblocktype = REJECT\n";
        if self.dice.chance(50) {
            text += "dest = <name>@example.org\nlonger = <chain>-<dest>\n";
        }
        if name == "cond" {
            text += "[Init?family=inet6]\nblocktype = REJECT6\nextra = <blocktype>\n";
        }
        self.write(&format!("action.d/{name}.conf"), &text);
        self.write(
            "action.d/base.conf",
            "[Init]\nfrom_base = <chain>\nchain = BASE\n",
        );
        if self.dice.chance(25) {
            let text = "[Init]\nchain = %(known/chain)s-LOCAL\n";
            self.write(&format!("action.d/{name}.local"), text);
        }
    }

    /// One thing that is wrong.
    fn mistake(&mut self) {
        let (file, text) = [
            (
                "jail.d/99-e.conf",
                "[alpha]\nenabled = 1\nfilter = nothere\n",
            ),
            (
                "jail.d/99-e.conf",
                "[alpha]\nenabled = 1\naction = nothere[a=1]\n",
            ),
            (
                "jail.d/99-e.conf",
                "[beta]\nenabled = 1\nfilter = plain[a=1 b=2, c]\n",
            ),
            (
                "jail.d/99-e.conf",
                "[beta]\nenabled = 1\nfilter = plain[a=\"1\"b]\n",
            ),
            (
                "jail.d/99-e.conf",
                "[beta]\nenabled = 1\naction = block[x\n",
            ),
            ("jail.d/99-e.conf", "[alpha]\nenabled = 1\nbantime = 5%\n"),
            (
                "jail.d/99-e.conf",
                "[alpha]\nenabled = 1\nlogpath = %(nowhere)s/x\n",
            ),
            ("jail.d/99-e.conf", "[alpha]\nv1 = 1\nv1 = 2\n"),
            ("jail.d/99-e.conf", "[alpha]\nv1 = 1\n[alpha]\nv2 = 2\n"),
            ("jail.d/99-e.conf", "[alpha]\nnot an assignment\n"),
            ("jail.d/99-e.conf", "v1 = before any section\n"),
            (
                "jail.d/99-e.conf",
                "[alpha]\nenabled = 1\nv4 = %(v4)s\nfindtime = %(v4)s\n",
            ),
            (
                "jail.d/99-e.conf",
                "[alpha]\nenabled = 1\njournalmatch = 'open\n",
            ),
            (
                "filter.d/plain.d/e.conf",
                "[Definition]\nfailregex = <loop>\nloop = <pool>\npool = <loop>\n",
            ),
        ][self.dice.below(14)];
        self.write(file, text);
    }
}
