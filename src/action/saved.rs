//! Saved rulesets that name our objects: a trap for the next boot.
//!
//! Whoever saves the running ruleset (netfilter-persistent, `service iptables save`, a
//! hand-made `nft list ruleset`) saves our rules with it. At boot our sets are not there
//! yet, and `iptables-restore` then refuses the *whole* file, so the host comes up without
//! any firewall. We put our own rules in place ourselves, so no file needs them.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Where distributions and their tools keep rulesets.
const FILES: [(&str, Format); 14] = [
    ("etc/iptables/rules.v4", Format::Iptables),
    ("etc/iptables/rules.v6", Format::Iptables),
    ("etc/iptables/iptables.rules", Format::Iptables),
    ("etc/iptables/ip6tables.rules", Format::Iptables),
    ("etc/iptables.rules", Format::Iptables),
    ("etc/iptables.up.rules", Format::Iptables),
    ("etc/sysconfig/iptables", Format::Iptables),
    ("etc/sysconfig/ip6tables", Format::Iptables),
    ("etc/nftables.conf", Format::Nft),
    ("etc/sysconfig/nftables.conf", Format::Nft),
    ("etc/ipset.conf", Format::Ipset),
    ("etc/iptables/ipsets", Format::Ipset),
    ("etc/sysconfig/ipset", Format::Ipset),
    ("etc/firewalld/direct.xml", Format::Firewalld),
];

/// Names of ours, and of the objects that fail2ban's jails keep.
const NAMES: [&str; 2] = ["ringfence", "f2b-"];

/// A ruleset is far smaller; more of a file is not read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Who reads a file at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Iptables,
    Nft,
    Ipset,
    Firewalld,
}

/// A file that names what is not there at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The file.
    pub path: PathBuf,
    /// The first such line, counted from 1.
    pub line: usize,
    /// How many there are.
    pub lines: usize,
    format: Format,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trap {
            path, line, lines, ..
        } = self;
        let path = path.display();
        let what = match lines {
            1 => "1 line names".to_owned(),
            more => format!("{more} lines name"),
        };
        let (harm, remedy) = match self.format {
            Format::Iptables => (
                "at boot iptables-restore refuses the whole file, since the sets are not there yet: the host comes up without a firewall",
                format!("sed -i.saved -E '/match-set (ringfence|f2b-)/d' {path}"),
            ),
            Format::Nft => (
                "at boot bans of the past come back, or the whole file is refused",
                format!("delete them from {path} (keep `include` lines and your own tables)"),
            ),
            Format::Ipset => (
                "at boot bans of the past come back, in sets that ringfence may have to replace",
                format!("sed -i.saved -E '/^(create|add) (ringfence|f2b-)/d' {path}"),
            ),
            Format::Firewalld => (
                "firewalld fails to load its direct rules, since the sets are not there yet",
                format!("delete them from {path}, then `firewall-cmd --reload`"),
            ),
        };
        write!(
            f,
            "{path}:{line}: {what} sets of ringfence or fail2ban; {harm}. ringfence puts its rules in place itself. Remedy: {remedy}"
        )
    }
}

/// The traps among the usual files below `root` (`/`, but for tests). What cannot be read
/// is left out: it needs root to look everywhere.
pub fn traps(root: &Path) -> Vec<Trap> {
    let look = |(path, format): &(&str, Format)| look(&root.join(path), *format);
    FILES.iter().filter_map(look).collect()
}

fn look(path: &Path, format: Format) -> Option<Trap> {
    let file = File::open(path).ok()?;
    let lines = BufReader::new(file.take(FILE_BYTES_MAX)).split(b'\n');
    let numbers: Vec<usize> = lines
        .map_while(Result::ok)
        .zip(1..)
        .filter(|(line, _)| names_ours(&String::from_utf8_lossy(line), format))
        .map(|(_, number)| number)
        .collect();
    Some(Trap {
        path: path.to_owned(),
        line: *numbers.first()?,
        lines: numbers.len(),
        format,
    })
}

fn names_ours(line: &str, format: Format) -> bool {
    let line = line.trim_start();
    if line.starts_with('#') {
        return false;
    }
    let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'));
    let is_ours = |word: &str| NAMES.iter().any(|name| word.starts_with(name));
    match format {
        // A rule may match several sets.
        Format::Iptables | Format::Firewalld => line.split("--match-set ").skip(1).any(is_ours),
        Format::Ipset => {
            matches!(words.next(), Some("create" | "add")) && words.next().is_some_and(is_ours)
        }
        Format::Nft => {
            let is_table = words.next() == Some("table") && words.nth(1).is_some_and(is_ours);
            is_table || line.contains("xt match \"set\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_of_ours_are_told_from_others() {
        use Format::{Firewalld, Ipset, Iptables, Nft};
        for (format, line, ours) in [
            (
                Iptables,
                "-A PREROUTING -m set ! --match-set ringfence-allow src -j DROP",
                true,
            ),
            (
                Iptables,
                "-A PREROUTING -m set --match-set mine src -m set --match-set ringfence src -j DROP",
                true,
            ),
            (
                Iptables,
                "-A INPUT -m set --match-set f2b-sshd src -j REJECT",
                true,
            ),
            (
                Iptables,
                "-A INPUT -m set --match-set my-ringfence src -j DROP",
                false,
            ),
            (Iptables, "# -m set --match-set ringfence src", false),
            (
                Iptables,
                "-A INPUT -m comment --comment ringfence -j ACCEPT",
                false,
            ),
            (Iptables, "-N f2b-sshd", false),
            (
                Ipset,
                "create ringfence-asterisk hash:net family inet",
                true,
            ),
            (Ipset, "add ringfence-apiban 192.0.2.7", true),
            (Ipset, "add mine 192.0.2.7", false),
            (Nft, "table inet ringfence {", true),
            (Nft, "table inet f2b-table {", true),
            (Nft, "table inet filter {", false),
            (Nft, "\t\txt match \"set\" counter drop", true),
            (
                Firewalld,
                "<rule ipv=\"ipv4\" table=\"raw\" chain=\"PREROUTING\" priority=\"0\">-m set --match-set ringfence src -j DROP</rule>",
                true,
            ),
            (
                Firewalld,
                "<rule>-m set --match-set blocked src -j DROP</rule>",
                false,
            ),
        ] {
            assert_eq!(names_ours(line, format), ours, "{line}");
        }
    }

    #[test]
    fn a_trap_says_where_it_is_and_what_helps() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(traps(root.path()), []);
        fs::create_dir_all(root.path().join("etc/iptables")).unwrap();
        fs::write(
            root.path().join("etc/iptables/rules.v4"),
            "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m set --match-set ringfence src -j DROP\nCOMMIT\n",
        )
        .unwrap();
        fs::write(
            root.path().join("etc/nftables.conf"),
            "table inet filter {\n}\n",
        )
        .unwrap();
        let traps = traps(root.path());
        assert_eq!(traps.len(), 1);
        let sentence = traps[0].to_string();
        for part in [
            "rules.v4:3: 1 line names",
            "without a firewall",
            "sed -i.saved",
        ] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
