//! Where the files of a tree come from: folders, and files built into the program.
//!
//! Roots lie upon each other, the last on top. A file in a higher root hides the file
//! of the same name below, as `/etc/systemd` hides `/usr/lib/systemd`; files of other
//! names join. So `jail.local` beside our own `jail.conf` adds to it, and a whole
//! `filter.d/asterisk.conf` replaces ours. A fail2ban tree is one folder alone.
//!
//! Nothing is ever written. Names of files are relative to the tree, or absolute.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use crate::config::error::{ConfigError, ConfigErrorKind};

/// The longest file that is read. The largest of fail2ban's own has 30 kB; a jail file
/// with a hundred thousand addresses in `ignoreip` has 2 MB.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How errors call the folder of the files that are built in.
pub const EMBEDDED_NAME: &str = "built-in";

/// Files built into the program: names such as `filter.d/asterisk.conf`, and texts.
pub type EmbeddedFiles = &'static [(&'static str, &'static str)];

/// One place where files come from.
#[derive(Debug, Clone)]
pub enum Root {
    /// A folder, such as `/etc/fail2ban`. It need not exist.
    Dir(PathBuf),
    /// Files built into the program.
    Embedded(EmbeddedFiles),
    /// Files that are only in memory, by their names: for tests and for trying out.
    Texts(BTreeMap<String, String>),
}

/// Places that lie upon each other, the last on top.
#[derive(Debug, Clone)]
pub struct Roots(pub Vec<Root>);

/// A file that was found.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// As errors name it.
    pub(super) path: PathBuf,
    /// What it says, if it is not on a disk.
    text: Option<&'a str>,
}

impl Roots {
    /// A tree in one folder, as fail2ban's is.
    pub fn dir(path: impl Into<PathBuf>) -> Self {
        Roots(vec![Root::Dir(path.into())])
    }

    /// The folder that `fail2ban_confpath` means: the topmost one.
    pub fn folder(&self) -> PathBuf {
        let folders = self.0.iter().rev().find_map(|root| match root {
            Root::Dir(path) => Some(path.clone()),
            Root::Embedded(_) | Root::Texts(_) => None,
        });
        folders.unwrap_or_else(|| PathBuf::from(EMBEDDED_NAME))
    }

    /// Looks for a file; `name` is relative to the tree, or absolute.
    pub(super) fn find(&self, name: &Path) -> Option<Found<'_>> {
        self.0.iter().rev().find_map(|root| match root {
            Root::Dir(folder) => {
                let path = folder.join(name);
                path.is_file().then_some(Found { path, text: None })
            }
            Root::Embedded(files) => {
                let plain = plain(name)?;
                let (_, text) = files.iter().find(|(path, _)| *path == plain)?;
                Some(Found {
                    path: Path::new(EMBEDDED_NAME).join(&plain),
                    text: Some(text),
                })
            }
            Root::Texts(files) => {
                let plain = plain(name)?;
                Some(Found {
                    text: Some(files.get(&plain)?),
                    path: PathBuf::from(plain),
                })
            }
        })
    }

    /// The names (relative to the tree) of the files in a folder that end in
    /// `.extension`, sorted by their bytes. Names with a leading dot are passed over.
    pub(super) fn list(&self, folder: &Path, extension: &str) -> Vec<PathBuf> {
        let mut names = BTreeSet::new();
        for root in &self.0 {
            match root {
                Root::Dir(base) => {
                    let Ok(entries) = fs::read_dir(base.join(folder)) else {
                        continue;
                    };
                    names.extend(entries.flatten().map(|entry| entry.file_name()));
                }
                Root::Embedded(files) => {
                    let paths = files.iter().map(|(path, _)| *path);
                    names.extend(paths.filter_map(|path| name_inside(folder, path)));
                }
                Root::Texts(files) => {
                    let paths = files.keys();
                    names.extend(paths.filter_map(|path| name_inside(folder, path)));
                }
            }
        }
        let wanted = |name: &PathBuf| {
            let hidden = name.to_string_lossy().starts_with('.');
            !hidden && name.extension().is_some_and(|found| found == extension)
        };
        let names = names.into_iter().map(PathBuf::from).filter(wanted);
        names.map(|name| folder.join(name)).collect()
    }

    /// The text of a file that was found.
    pub(super) fn text(&self, found: &Found<'_>) -> Result<String, ConfigError> {
        if let Some(text) = found.text {
            return Ok(text.to_owned());
        }
        let wrong = |kind| ConfigError::new(&found.path, 0, kind);
        let bytes = read_bounded(&found.path).map_err(wrong)?;
        String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..offset).unwrap_or_default();
            let line = memchr::memchr_iter(b'\n', before).count() + 1;
            let line = u32::try_from(line).unwrap_or(0);
            ConfigError::new(&found.path, line, ConfigErrorKind::NotUtf8 { offset })
        })
    }
}

/// The name of a file that lies directly in a folder.
fn name_inside(folder: &Path, path: &str) -> Option<OsString> {
    let path = Path::new(path);
    (path.parent() == Some(folder)).then(|| path.file_name().map(OsString::from))?
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ConfigErrorKind> {
    let unreadable = |error: std::io::Error| ConfigErrorKind::Unreadable {
        reason: match error.kind() {
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        },
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigErrorKind::TooLarge {
            bytes: fs::metadata(path).map_or(bytes.len() as u64, |metadata| metadata.len()),
            bytes_max: FILE_BYTES_MAX,
        });
    }
    Ok(bytes)
}

/// A relative name without `.` and `..`, as the embedded files are called.
fn plain(name: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in name.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: EmbeddedFiles = &[
        ("jail.conf", "[DEFAULT]\n"),
        ("filter.d/asterisk.conf", "[Definition]\nours = 1\n"),
        ("filter.d/kamailio.conf", "[Definition]\n"),
    ];

    fn two_roots() -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("filter.d")).unwrap();
        for name in [
            "filter.d/asterisk.conf",
            "filter.d/b.conf",
            "filter.d/.x.conf",
        ] {
            fs::write(folder.path().join(name), "[Definition]\ntheirs = 1\n").unwrap();
        }
        let roots = Roots(vec![
            Root::Embedded(OURS),
            Root::Dir(folder.path().to_owned()),
        ]);
        (folder, roots)
    }

    #[test]
    fn the_upper_root_hides_the_lower() {
        let (folder, roots) = two_roots();
        for (name, expected) in [
            ("jail.conf", Some("[DEFAULT]\n")),
            ("filter.d/../jail.conf", Some("[DEFAULT]\n")),
            ("filter.d/asterisk.conf", Some("[Definition]\ntheirs = 1\n")),
            ("filter.d/none.conf", None),
            ("../../jail.conf", None),
        ] {
            let found = roots.find(Path::new(name));
            let text = found.map(|found| roots.text(&found).unwrap());
            assert_eq!(text.as_deref(), expected, "{name}");
        }
        assert_eq!(roots.folder(), folder.path());
        let found = roots.find(Path::new("filter.d/kamailio.conf")).unwrap();
        assert_eq!(found.path, Path::new("built-in/filter.d/kamailio.conf"));
    }

    #[test]
    fn folders_join_sorted_by_bytes() {
        let (_folder, roots) = two_roots();
        let names = roots.list(Path::new("filter.d"), "conf");
        let expected = ["asterisk.conf", "b.conf", "kamailio.conf"];
        assert_eq!(
            names,
            expected
                .map(|name| Path::new("filter.d").join(name))
                .to_vec()
        );
        assert!(roots.list(Path::new("jail.d"), "conf").is_empty());
    }

    #[test]
    fn unreadable_files_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jail.conf");
        fs::write(&path, b"[a]\nx = \xff\n").unwrap();
        let roots = Roots::dir(folder.path());
        let found = roots.find(Path::new("jail.conf")).unwrap();
        let error = roots.text(&found).unwrap_err();
        let expected = ConfigErrorKind::NotUtf8 { offset: 8 };
        assert_eq!((error.line, *error.kind), (2, expected));
        fs::write(&path, vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(
            roots.text(&found).unwrap_err().kind.to_string(),
            "is 8388609 bytes long; a configuration file may have 8388608"
        );
    }
}
