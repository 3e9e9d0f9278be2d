//! Accounts without a shell: they are made to fetch or bring files, or to run a server. Who
//! logs in by one of them administers nothing.
//!
//! Whoever is not in the machine's own file (a directory knows him) may have a shell.

use std::collections::BTreeSet;
use std::path::Path;

use super::logins;

/// The machine's own accounts.
const PASSWD: &str = "/etc/passwd";

/// Bytes that are read of it: some ten thousand accounts.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// What stands in the place of a shell.
const NO_SHELLS: [&str; 7] = [
    "nologin",
    "false",
    "git-shell",
    "sftp-server",
    "scponly",
    "rssh",
    "mysecureshell",
];

/// See the module's header.
pub(super) struct WithoutShell(BTreeSet<String>);

/// Reads who they are. If that is not possible nobody is one.
pub(super) fn read() -> WithoutShell {
    let passwd = logins::read(Path::new(PASSWD), PASSWD_BYTES_MAX).unwrap_or_default();
    of_passwd(&String::from_utf8_lossy(&passwd))
}

fn of_passwd(passwd: &str) -> WithoutShell {
    let account = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let uid = rest.split(':').nth(1)?;
        let shell = rest.rsplit([':', '/']).next()?;
        (uid != "0" && NO_SHELLS.contains(&shell)).then(|| name.to_owned())
    };
    WithoutShell(passwd.lines().filter_map(account).collect())
}

impl WithoutShell {
    /// May this user have a shell?
    pub(super) fn may_have_one(&self, user: &str) -> bool {
        !self.0.contains(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_a_shell() {
        let without = of_passwd(
            "root:x:0:0:root:/root:/usr/sbin/nologin\n\
             admin:x:1000:1000::/home/admin:/bin/bash\n\
             files:x:1001:1001::/srv/files:/usr/sbin/nologin\n\
             git:x:1002:1002::/srv/git:/usr/bin/git-shell\n\
             false:x:1003:1003::/home/false:\n\
             broken\n:\n",
        );
        let users = [
            "root",
            "admin",
            "files",
            "git",
            "false",
            "broken",
            "elsewhere",
        ];
        let without: Vec<_> = users
            .iter()
            .filter(|user| !without.may_have_one(user))
            .collect();
        assert_eq!(without, [&"files", &"git"]);
    }
}
