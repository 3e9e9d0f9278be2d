//! Configurations as phone servers have them: what their jails must be.

use std::path::Path;

use expect_test::{Expect, expect};
use ringfence::config::fail2ban::{Roots, load};
use ringfence::time::{BanTime, human};

fn check(tree: &str, expected: Expect) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/trees")
        .join(tree);
    let loaded = load(&Roots::dir(&folder));
    let mut shown = String::new();
    for jail in &loaded.jails {
        let ban = match jail.bantime {
            BanTime::For(span) => human(span),
            BanTime::Forever => "ever".to_owned(),
        };
        let filter = &jail.filter_text;
        shown += &format!(
            "{}: {} in {} for {ban}; {} patterns, {} ignored; ignores {}\n",
            jail.name,
            jail.maxretry,
            human(jail.findtime),
            filter.failregex.len(),
            filter.ignoreregex.len(),
            jail.ignoreip.join(" "),
        );
        for path in &jail.logpath {
            shown += &format!("  {}{}\n", path.path, if path.tail { " tail" } else { "" });
        }
        for words in &filter.journalmatch {
            shown += &format!("  journal {}\n", words.join(" | "));
        }
        for action in &jail.actions {
            let ban = action
                .properties
                .get("actionban")
                .map_or("-", String::as_str);
            shown += &format!("  {} = {}: {ban}\n", action.name, action.file.display());
        }
    }
    if !loaded.disabled.is_empty() {
        shown += &format!("disabled: {}\n", loaded.disabled.join(", "));
    }
    let base = format!("{}/", folder.display());
    for error in &loaded.errors {
        shown += &format!("{error}\n").replace(&base, "");
    }
    expected.assert_eq(&shown);
}

#[test]
fn freepbx_like() {
    check(
        "freepbx-like",
        expect![[r#"
        asterisk-iptables: 10 in 10m for 30m; 2 patterns, 0 ignored; ignores 127.0.0.1 192.0.2.0/24 198.51.100.7
          /var/log/asterisk/fail2ban
          iptables-allports-SIP = iptables-allports: fw add ours-SIP <ip>
          sendmail-SIP = sendmail: printf "Subject: [SIP] <ip>\nFrom: pbx@example.org\nTo: root@example.org\n\nAfter <failures> failures.\n" | post root@example.org
        pbx-gui: 10 in 10m for 30m; 1 patterns, 0 ignored; ignores 127.0.0.1 192.0.2.0/24 198.51.100.7
          /var/log/asterisk/freepbx_security.log
          iptables-allports-PBX-GUI = iptables-allports: fw add ours-PBX-GUI <ip>
          sendmail-PBX-GUI = sendmail: printf "Subject: [PBX-GUI] <ip>\nFrom: pbx@example.org\nTo: root@example.org\n\nAfter <failures> failures.\n" | post root@example.org
        ssh-iptables: 10 in 10m for 30m; 1 patterns, 0 ignored; ignores 127.0.0.1 192.0.2.0/24 198.51.100.7
          /var/log/secure
          iptables-multiport-SSH = iptables-multiport: fw add ours-SSH <ip>
          sendmail-SSH = sendmail: printf "Subject: [SSH] <ip>\nFrom: pbx@example.org\nTo: root@example.org\n\nAfter <failures> failures.\n" | post root@example.org
        apache-badbots: 10 in 10m for 30m; 1 patterns, 0 ignored; ignores 127.0.0.1 192.0.2.0/24 198.51.100.7
          /var/log/httpd/*access_log
          iptables-multiport-BadBots = iptables-multiport: fw add ours-BadBots <ip>
        recidive: 20 in 1d for 1w; 1 patterns, 0 ignored; ignores 127.0.0.1 192.0.2.0/24 198.51.100.7
          /var/log/fail2ban.log*
          iptables-allports = iptables-allports: fw add ours-recidive <ip>
        disabled: asterisk
    "#]],
    );
}

#[test]
fn fusionpbx_like() {
    check(
        "fusionpbx-like",
        expect![[r#"
        ssh: 6 in 1m for 1d; 1 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/auth.log
          iptables-allportsd = iptables-allports: fw add ours-sshd <ip>
        freeswitch: 10 in 1m for 1h; 3 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/freeswitch/freeswitch.log
          iptables-allports = iptables-allports: fw add ours-freeswitch <ip>
        sip-auth-failure: 3 in 30s for 2h; 1 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/freeswitch/freeswitch.log
          iptables-allports = iptables-allports: fw add ours-sip-auth-failure <ip>
        sip-auth-challenge-ip: 1 in 30s for 2h; 1 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/freeswitch/freeswitch.log
          iptables-allports = iptables-allports: fw add ours-sip-auth-challenge-ip <ip>
        fusionpbx: 10 in 1m for 1h; 1 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/auth.log
          iptables-multiport = iptables-multiport: fw add ours-fusionpbx <ip>
        nginx-404: 300 in 1m for 1h; 1 patterns, 1 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/nginx/access*.log
          iptables-multiport = iptables-multiport: fw add ours-nginx-404 <ip>
        nginx-dos: 800 in 1m for 1d; 1 patterns, 0 ignored; ignores 127.0.0.1/8 203.0.113.0/25
          /var/log/nginx/access*.log
        jail.local:72: the jail has no action: it will ban in our books only; write `action = NAME`
    "#]],
    );
}

#[test]
fn oddities() {
    check(
        "oddities",
        expect![[r#"
        Asterisk PBX: 3 in 1h for 1d 12h; 4 patterns, 0 ignored; ignores 
          /var/log/asterisk/full tail
          /var/log/asterisk/full.[0-9]
          ban = ban: ban <ip> -j <blocktype>
          note = note: note "it's [here], o]k" <F-USER> <matches>
          note-b = note: note "a
        b" <F-USER> <matches>
        tabs: 10 in 1h for 1d 12h; 1 patterns, 0 ignored; ignores 
          journal _SYSTEMD_UNIT=asterisk.service | + | _COMM=a b
          journal CONTAINER_NAME=pbx 1
          ban = ban: ban <ip> -j <blocktype>
          note = note: note "it's [here], o]k" <F-USER> <matches>
          note-b = note: note "a
        b" <F-USER> <matches>
    "#]],
    );
}
