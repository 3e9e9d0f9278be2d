//! What jails with stock actions have in the kernel, noted in a file of our own.
//!
//! It does not stand in the database, which may be fail2ban's and goes with the tree: the
//! kernel is this machine's. So whoever comes after finds it, whatever tree he is given: a
//! run with another one or with none, and `ringfence stop`, which is never told of any.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::action::stock::{Layout, Layouts};
use crate::config::is_sound;

/// The file's name in the folder in which state is kept.
const FILE: &str = "stock.json";

/// The note; nothing is read or written in a dry run.
#[derive(Clone, Debug)]
pub struct Left(Option<PathBuf>);

impl Left {
    /// That of the runs which keep their state in this folder.
    pub fn in_folder(state_dir: &Path) -> Left {
        Left(Some(state_dir.join(FILE)))
    }

    /// That of a dry run.
    pub fn none() -> Left {
        Left(None)
    }

    /// What the run before, or this one, has there.
    pub fn read(&self) -> Layouts {
        let Some(path) = &self.0 else {
            return Layouts::new();
        };
        let jails = match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let jails: BTreeMap<String, Vec<Layout>> = jails.unwrap_or_else(|error| {
            warn!(path = %path.display(), %error, "what an earlier run left in the kernel for jails' actions is not known; chains and sets of jails that are gone stay");
            BTreeMap::new()
        });
        let jails = jails.into_iter().map(|(jail, mut own)| {
            let is_unsound = |layout: &mut Layout| !is_sound(layout);
            for layout in own.extract_if(.., is_unsound) {
                let place = layout.place();
                warn!(path = %path.display(), %jail, "what is noted there about {place:?} no action can have made; it is passed over");
            }
            (jail.into(), own)
        });
        jails.collect()
    }

    /// From now on this is there.
    pub fn write(&self, layouts: &Layouts) {
        if let Some(path) = &self.0
            && let Err(error) = put(path, layouts)
        {
            warn!(path = %path.display(), %error, "what jails' actions keep in the kernel could not be noted; `ringfence stop` without a daemon would not find it");
        }
    }
}

/// Whoever reads it finds the note before or this one.
fn put(path: &Path, layouts: &Layouts) -> io::Result<()> {
    if layouts.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let jails = layouts.iter().map(|(jail, own)| (&**jail, own));
    let json = serde_json::to_vec(&jails.collect::<BTreeMap<&str, &Vec<Layout>>>())?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, json)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Family;
    use crate::action::stock::{Kind, SetLayout, Timeouts};

    #[test]
    fn the_next_run_finds_what_the_last_one_has_written() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        let layout = Layout {
            family: Family::V4,
            kind: Kind::Set(SetLayout {
                name: "f2b-pbx".to_owned(),
                made: vec!["hash:ip".to_owned()],
                timeouts: Timeouts::Always(0),
                jumps: Vec::new(),
            }),
        };
        let layouts: Layouts = [("pbx".into(), vec![layout])].into();
        let left = || Left::in_folder(&state_dir);
        left().write(&Layouts::new()); // there is no folder yet
        assert_eq!(left().read(), Layouts::new());
        left().write(&layouts);
        assert_eq!(left().read(), layouts);
        fs::write(state_dir.join(FILE), "{").unwrap();
        assert_eq!(left().read(), Layouts::new());
        left().write(&layouts);
        left().write(&Layouts::new());
        assert_eq!(fs::read_dir(&state_dir).unwrap().count(), 0);

        Left::none().write(&layouts);
        assert_eq!(Left::none().read(), Layouts::new());
    }
}
