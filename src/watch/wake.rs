//! Waking: the kernel's word that a log may have changed, and the bell on which
//! the reader sleeps.
//!
//! The reader itself listens: it sleeps on inotify and on a bell that other threads
//! ring, so that a line that was written wakes one thread and no second one. What it
//! hears is noted as a set, no longer than the number of files. Directories are
//! watched, not files: that tells of names as well. Where no file is followed, only
//! names are asked for; a directory in which others write wakes nobody for that.
//!
//! All of this only makes things quick. A word that is lost costs one sweep.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::FileId;
use super::names::Ear;
use super::pace::{Pace, REST};

/// Room for what the kernel says at once: some hundred words. More is asked for again.
const WORDS_BYTES: usize = 8 * 1024;

/// What tells of names.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The directory itself went away, and its watch with it or soon.
const ITSELF: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

/// Why [`Tail::wait`](super::Tail::wait) came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A log may have changed.
    News,
    /// Somebody rang with a [`Waker`].
    Called,
    /// It was time: for a sweep, or the caller's own.
    Time,
}

/// Ends a [`Tail::wait`](super::Tail::wait) from another thread.
#[derive(Clone)]
pub struct Waker(Option<Arc<OwnedFd>>);

impl Waker {
    /// Ends the wait that is on, or the next one.
    pub fn wake(&self) {
        if let Some(bell) = &self.0 {
            // It fails only if the bell was rung without end, and then it rings.
            let _full = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

/// What the reader should look at.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// These files were written to.
    pub(super) files: HashSet<FileId>,
    /// Names came, went or changed hands.
    pub(super) names: bool,
    /// Words were lost: look at everything.
    pub(super) all: bool,
}

impl Hints {
    fn any(&self) -> bool {
        self.names || self.all || !self.files.is_empty()
    }
}

/// One directory in which something matters.
#[derive(Default)]
struct Dir {
    ear: Ear,
    /// The files in it that are followed.
    files: HashMap<OsString, FileId>,
    watch: Watch,
}

/// How a directory is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Watch {
    /// Not yet, or not any more.
    #[default]
    None,
    /// That failed, and somebody was told.
    Failed,
    /// By the kernel's number, for the directory that was there then; do writes count?
    Laid {
        wd: i32,
        dir: (u64, u64),
        writes: bool,
    },
}

impl Watch {
    fn wd(self) -> Option<i32> {
        match self {
            Watch::Laid { wd, .. } => Some(wd),
            _ => None,
        }
    }
}

/// The directories that matter.
#[derive(Default)]
struct Dirs(BTreeMap<PathBuf, Dir>);

impl Dirs {
    /// Notes what a word about `name` in the directory of watch `wd` means.
    fn hear(&mut self, wd: i32, what: ReadFlags, name: &OsStr, hints: &mut Hints) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            hints.all = true;
            return;
        }
        // A directory under two names has one watch.
        let here = self.0.values_mut().filter(|dir| dir.watch.wd() == Some(wd));
        for dir in here {
            if what.intersects(ITSELF) {
                hints.names = true;
                hints.all = true;
                if what.contains(ReadFlags::IGNORED) {
                    dir.watch = Watch::None;
                }
            } else if what.contains(ReadFlags::MODIFY) {
                hints.files.extend(dir.files.get(name));
            } else {
                hints.names |= dir.ear.hears(name) || dir.files.contains_key(name);
            }
        }
    }
}

/// The watches, and the reader's end of the bell.
pub(super) struct Wake {
    inotify: Result<OwnedFd, String>,
    /// Without it, others are heard as often as everything is looked at.
    bell: Option<Arc<OwnedFd>>,
    dirs: Dirs,
    hints: Hints,
    pace: Pace,
}

impl Wake {
    pub(super) fn new() -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(why);
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(why);
        Wake {
            inotify,
            bell: bell.map(Arc::new).ok(),
            dirs: Dirs::default(),
            hints: Hints::default(),
            pace: Pace::new(Instant::now()),
        }
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(self.bell.clone())
    }

    /// Is there something of which the kernel tells us nothing?
    pub(super) fn is_blind(&self) -> bool {
        let failed = |dir: &Dir| dir.watch == Watch::Failed;
        self.bell.is_none() || self.dirs.0.values().any(failed)
    }

    /// Sleeps until something is noted or called, or one of `others` is ready, at most
    /// until `until`.
    pub(super) fn wait(&mut self, until: Instant, others: &[BorrowedFd<'_>]) -> Woken {
        loop {
            if self.is_called() {
                return Woken::Called;
            }
            self.listen();
            if self.hints.any() {
                return Woken::News;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Woken::Time;
            }
            if self.sleep(left, others) {
                return Woken::News;
            }
        }
    }

    /// Sleeps until the kernel or another thread has a word for us; true if one of
    /// `others` is ready.
    fn sleep(&mut self, at_most: Duration, others: &[BorrowedFd<'_>]) -> bool {
        let ours = self.inotify.as_ref().ok().into_iter();
        let ours = ours.chain(self.bell.as_deref()).map(AsFd::as_fd);
        let all = others.iter().copied().chain(ours);
        let mut all: Vec<PollFd<'_>> = all
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let at_most = Timespec::try_from(at_most).ok();
        // A signal ends it early, and the caller looks again.
        let woken = poll(&mut all, at_most.as_ref());
        let mut theirs = all.iter().take(others.len());
        let is_theirs = theirs.any(|fd| !fd.revents().is_empty());
        if woken.is_ok_and(|woken| woken > 0) && self.pace.is_out_of_breath(Instant::now()) {
            thread::sleep(REST);
        }
        is_theirs
    }

    fn is_called(&self) -> bool {
        let mut rung = [0; 8];
        let bell = self.bell.as_ref();
        bell.is_some_and(|bell| rustix::io::read(bell, &mut rung).is_ok())
    }

    /// Notes all that the kernel has to say.
    fn listen(&mut self) {
        let Ok(inotify) = &self.inotify else {
            return;
        };
        let mut room = [MaybeUninit::uninit(); WORDS_BYTES];
        let mut words = inotify::Reader::new(inotify, &mut room);
        loop {
            match words.next() {
                Ok(word) => {
                    let name = word.file_name().map_or(&[][..], CStr::to_bytes);
                    let name = OsStr::from_bytes(name);
                    self.dirs
                        .hear(word.wd(), word.events(), name, &mut self.hints);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.hints.all = true;
                    return;
                }
            }
        }
    }

    /// What was noted since the last time.
    pub(super) fn take(&mut self) -> Hints {
        self.listen();
        std::mem::take(&mut self.hints)
    }

    /// Listens in exactly these directories, and for these files by their real paths.
    /// Says whether a watch is new (what happened before it was laid must be looked
    /// for), and which directories cannot be watched since now. `renew` lays all
    /// watches again.
    pub(super) fn watch(
        &mut self,
        ears: BTreeMap<PathBuf, Ear>,
        files: &[(PathBuf, FileId)],
        renew: bool,
    ) -> (bool, Vec<(PathBuf, String)>) {
        let gone = |dir: &PathBuf| renew || !ears.contains_key(dir);
        let gone: Vec<PathBuf> = self
            .dirs
            .0
            .keys()
            .filter(|dir| gone(dir))
            .cloned()
            .collect();
        for dir in gone {
            self.unwatch(&dir);
            if !ears.contains_key(&dir) {
                self.dirs.0.remove(&dir);
            }
        }
        for (dir, ear) in ears {
            let here = self.dirs.0.entry(dir).or_default();
            here.ear = ear;
            here.files.clear();
        }
        for (path, id) in files {
            if let (Some(dir), Some(name)) = (path.parent(), path.file_name())
                && let Some(here) = self.dirs.0.get_mut(dir)
            {
                here.files.insert(name.to_owned(), *id);
            }
        }
        self.lay_all()
    }

    fn lay_all(&mut self) -> (bool, Vec<(PathBuf, String)>) {
        let (mut new, mut failed) = (false, Vec::new());
        let dirs: Vec<PathBuf> = self.dirs.0.keys().cloned().collect();
        for dir in dirs {
            let Ok(meta) = fs::metadata(&dir) else {
                self.unwatch(&dir); // Gone just now; the next look finds another.
                continue;
            };
            let Some(here) = self.dirs.0.get_mut(&dir) else {
                continue;
            };
            let id = (meta.dev(), meta.ino());
            let is_followed = !here.files.is_empty();
            if matches!(here.watch, Watch::Laid { dir, writes, .. } if dir == id && writes >= is_followed)
            {
                continue;
            }
            let was = here.watch;
            self.unwatch(&dir);
            let watch = match self.lay(&dir, is_followed) {
                Ok(wd) => {
                    new = true;
                    Watch::Laid {
                        wd,
                        dir: id,
                        writes: is_followed,
                    }
                }
                Err(why) => {
                    if was != Watch::Failed {
                        failed.push((dir.clone(), why));
                    }
                    Watch::Failed
                }
            };
            if let Some(here) = self.dirs.0.get_mut(&dir) {
                here.watch = watch;
            }
        }
        (new, failed)
    }

    fn lay(&self, dir: &Path, writes: bool) -> Result<i32, String> {
        // Under another name the same directory may be watched for more.
        let mut what = NAMES | WatchFlags::MASK_ADD;
        what.set(WatchFlags::MODIFY, writes);
        let inotify = self.inotify.as_ref().map_err(String::clone)?;
        inotify::add_watch(inotify, dir, what).map_err(why)
    }

    fn unwatch(&mut self, dir: &Path) {
        let Some(here) = self.dirs.0.get_mut(dir) else {
            return;
        };
        let wd = std::mem::take(&mut here.watch).wd();
        let is_shared = self.dirs.0.values().any(|other| other.watch.wd() == wd);
        if let (Some(wd), Ok(inotify), false) = (wd, &self.inotify, is_shared) {
            // It fails if the directory is gone, and then there is nothing to do.
            let _gone = inotify::remove_watch(inotify, wd);
        }
    }
}

/// What stands in the way of a watch, for the operator.
fn why(error: Errno) -> String {
    match error {
        Errno::NOSPC => {
            "all inotify watches are in use; raise fs.inotify.max_user_watches".to_owned()
        }
        Errno::MFILE => {
            "all inotify instances are in use; raise fs.inotify.max_user_instances".to_owned()
        }
        error => std::io::Error::from(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::SourceId;
    use crate::watch::names::{Found, Pattern};

    /// What one word about one name does: `file`, `names`, `all` or nothing.
    fn heard(dirs: &mut Dirs, what: ReadFlags, name: &str) -> String {
        let mut hints = Hints::default();
        dirs.hear(1, what, OsStr::new(name), &mut hints);
        let mut words: Vec<&str> = hints.files.iter().map(|_| "file").collect();
        words.extend(hints.names.then_some("names"));
        words.extend(hints.all.then_some("all"));
        words.join(" ")
    }

    #[test]
    fn only_what_matters_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let mut found = Found::default();
        for pattern in ["log", "*.log", "later/log"] {
            let pattern = Pattern::new(&dir.join(pattern).display().to_string());
            found.walk(&pattern, SourceId(0));
        }
        let mut dirs = Dirs::default();
        for (number, (path, ear)) in found.ears.into_iter().enumerate() {
            let here = dirs.0.entry(path.clone()).or_default();
            here.ear = ear;
            here.watch = Watch::Laid {
                wd: if path == dir { 1 } else { 2 + number as i32 },
                dir: (0, 0),
                writes: true,
            };
        }
        let files = &mut dirs.0.get_mut(&dir).unwrap().files;
        files.insert("log".into(), FileId(1));
        files.insert("log.1".into(), FileId(2));

        for (what, name, expected) in [
            (ReadFlags::MODIFY, "log", "file"),
            (ReadFlags::MODIFY, "log.1", "file"),
            (ReadFlags::MODIFY, "other", ""),
            (ReadFlags::MODIFY, "new.log", ""), // its creation was heard before
            (ReadFlags::CREATE, "log", "names"),
            (ReadFlags::CREATE, "new.log", "names"),
            (ReadFlags::CREATE | ReadFlags::ISDIR, "later", "names"),
            (ReadFlags::CREATE, "other", ""),
            (ReadFlags::MOVED_FROM, "log", "names"),
            (ReadFlags::MOVED_FROM, "log.1", "names"),
            (ReadFlags::MOVED_FROM, "other", ""),
            (ReadFlags::ATTRIB, "log", "names"),
            (ReadFlags::QUEUE_OVERFLOW, "", "all"),
            (ReadFlags::DELETE_SELF, "", "names all"),
            (ReadFlags::IGNORED, "", "names all"),
            (ReadFlags::CREATE, "log", ""), // its watch is gone
        ] {
            assert_eq!(heard(&mut dirs, what, name), expected, "{what:?} {name}");
        }
    }
}
