//! Keys of our jails for which fail2ban has no word: how they judge what is not proven.

use super::fail2ban::{JailText, timespan};
use crate::jail::crowd::OFFENDERS_MAX;
use crate::time::BanTime;

/// How long a ban lasts that rests on hints (`hints`). Where the filter marks no proofs
/// nothing could be told apart, so every failure counts as proven.
pub(super) fn hints(text: &JailText) -> Result<Option<BanTime>, String> {
    let Some(written) = text.filter_text.extra.get("hints") else {
        return Ok(None);
    };
    let bantime = timespan::ban_time(written).map_err(|error| {
        format!("hints = {written}: {error}; it is how long a ban by hints lasts, as in `10m`")
    })?;
    let mut patterns = text.filter_text.failregex.iter();
    Ok(patterns
        .any(|pattern| pattern.contains("<F-PROOF>"))
        .then_some(bantime))
}

/// How many challenges without a login are a scan (`maxchallenges`).
pub(super) fn maxchallenges(text: &JailText) -> Result<Option<u32>, String> {
    let Some(written) = text.filter_text.extra.get("maxchallenges") else {
        return Ok(None);
    };
    match written.trim().parse() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(format!(
            "maxchallenges = {written}: it is a number of challenges, at least 1; leave it out to \
             count none"
        )),
    }
}

/// How many banned offenders of one network are tolerated before it is banned (`aggregate`).
pub(super) fn aggregate(text: &JailText) -> Result<Option<u32>, String> {
    let Some(written) = text.filter_text.extra.get("aggregate") else {
        return Ok(None);
    };
    match written.trim().parse() {
        Ok(0) => Ok(None),
        Ok(count) if count <= OFFENDERS_MAX => Ok(Some(count)),
        _ => Err(format!(
            "aggregate = {written}: it is a number of banned offenders in one network, up to \
             {OFFENDERS_MAX}; 0 bans no networks"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use crate::config::{Config, Location, Purpose};
    use crate::time::BanTime;

    /// What is read of a jail of ours with these keys and this failregex.
    fn read(failregex: &str, keys: &str) -> Result<(Option<BanTime>, Option<u32>), String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "filter.d/own.conf",
            &format!("[Definition]\nfailregex = {failregex}\n"),
        );
        let jail = format!("[own]\nenabled = true\nfilter = own\nlogpath = /var/log/own\n{keys}");
        write("jail.d/own.conf", &jail);
        let location = Location {
            folder: folder.path().to_owned(),
            tree: None,
        };
        let config = Config::load(&location, Purpose::Judge).unwrap();
        let own = config.jail("own");
        own.map(|jail| (jail.rules.hints, jail.rules.maxchallenges))
            .ok_or(config.problems.concat())
    }

    #[test]
    fn hints_count_where_proofs_are_marked() {
        let short = |secs| Some(BanTime::For(Duration::from_secs(secs)));
        let marked = "^bad <F-PROOF>login</F-PROOF> from <ADDR>$";
        assert_eq!(read(marked, ""), Ok((short(600), None)));
        assert_eq!(
            read(marked, "hints = 5m\nmaxchallenges = 7"),
            Ok((short(300), Some(7)))
        );
        assert_eq!(
            read("^bad login from <ADDR>$", "hints = 5m"),
            Ok((None, None))
        );
        for keys in ["hints = soon", "maxchallenges = 0", "maxchallenges = many"] {
            let error = read(marked, keys).unwrap_err();
            assert!(error.contains(keys) && error.contains("own"), "{error}");
        }
    }
}
