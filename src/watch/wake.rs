//! Waking: the kernel's word that a log may have changed, and the bell on which
//! the reader sleeps.
//!
//! `notify` calls us on its own thread. That thread only notes which files are
//! concerned and rings; it never waits for the reader, and watches are added by
//! the reader alone (to add one inside the callback would wait for itself). What
//! is noted is a set, so a reader that is late finds it no longer than the number
//! of files. Directories are watched, not files: that tells of names as well.
//! What happens in them to files that nobody follows wakes nobody.
//!
//! All of this only makes things quick. A word that is lost costs one sweep.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use notify::event::{EventKind, ModifyKind};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::FileId;
use super::names::Ear;
use super::pace::{Pace, REST};

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
pub struct Waker(Arc<Bell>);

impl Waker {
    /// Ends the wait that is on, or the next one.
    pub fn wake(&self) {
        self.0.lock().called = true;
        self.0.rung.notify_one();
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

#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    ears: HashMap<PathBuf, Listening>,
    hints: Hints,
    called: bool,
}

/// What is listened for in one directory.
#[derive(Default)]
struct Listening {
    ear: Ear,
    files: HashMap<OsString, FileId>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On notify's thread: notes and rings. Says whether it did.
    fn hear(&self, event: notify::Result<Event>) -> bool {
        let heard = self.lock().hear(event);
        if heard {
            self.rung.notify_one();
        }
        heard
    }
}

impl State {
    /// Notes what an event means; says whether it means anything.
    fn hear(&mut self, event: notify::Result<Event>) -> bool {
        let Ok(event) = event else {
            self.hints.all = true;
            return true;
        };
        if event.need_rescan() {
            self.hints.all = true;
            return true;
        }
        match event.kind {
            EventKind::Access(_) => false,
            EventKind::Modify(ModifyKind::Data(_)) => {
                event.paths.iter().any(|path| self.hear_data(path))
            }
            _ => event.paths.iter().any(|path| self.hear_name(path)),
        }
    }

    fn hear_data(&mut self, path: &Path) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let file = self.ears.get(dir).and_then(|here| here.files.get(name));
        if let Some(file) = file {
            self.hints.files.insert(*file);
        }
        file.is_some()
    }

    fn hear_name(&mut self, path: &Path) -> bool {
        // A watched directory that is itself removed or renamed.
        let itself = self.ears.contains_key(path);
        let inside = path
            .parent()
            .zip(path.file_name())
            .is_some_and(|(dir, name)| {
                self.ears
                    .get(dir)
                    .is_some_and(|here| here.ear.hears(name) || here.files.contains_key(name))
            });
        self.hints.names |= itself || inside;
        self.hints.all |= itself;
        itself || inside
    }
}

/// The watches, and the reader's end of the bell.
pub(super) struct Wake {
    bell: Arc<Bell>,
    watcher: Result<RecommendedWatcher, String>,
    /// The directory behind each path when its watch was laid; `None` if that failed.
    watched: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Wake {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell::default());
        let heard = Arc::clone(&bell);
        let mut pace = Pace::new(Instant::now());
        let watcher = notify::recommended_watcher(move |event| {
            if heard.hear(event) && pace.is_out_of_breath(Instant::now()) {
                thread::sleep(REST);
            }
            pace.done(Instant::now());
        })
        .map_err(|error| why(&error));
        Wake {
            bell,
            watcher,
            watched: BTreeMap::new(),
        }
    }

    pub(super) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.bell))
    }

    /// Is there a directory of which the kernel tells us nothing?
    pub(super) fn is_blind(&self) -> bool {
        self.watched.values().any(Option::is_none)
    }

    /// Sleeps until something is noted or called, at most until `until`.
    pub(super) fn wait(&self, until: Instant) -> Woken {
        let mut state = self.bell.lock();
        loop {
            if std::mem::take(&mut state.called) {
                return Woken::Called;
            }
            if state.hints.any() {
                return Woken::News;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Woken::Time;
            }
            state = match self.bell.rung.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// What was noted since the last time.
    pub(super) fn take(&self) -> Hints {
        std::mem::take(&mut self.bell.lock().hints)
    }

    /// Listens in exactly these directories. Says whether a watch is new (what
    /// happened before it was laid must be looked for), and which directories
    /// cannot be watched since now. `renew` lays all watches again.
    pub(super) fn watch(
        &mut self,
        ears: BTreeMap<PathBuf, Ear>,
        renew: bool,
    ) -> (bool, Vec<(PathBuf, String)>) {
        let gone: Vec<PathBuf> = self
            .watched
            .keys()
            .filter(|dir| renew || !ears.contains_key(*dir))
            .cloned()
            .collect();
        for dir in gone {
            self.unwatch(&dir);
        }
        let (mut new, mut failed) = (false, Vec::new());
        for dir in ears.keys() {
            let was = self.watched.get(dir).copied();
            let Ok(meta) = fs::metadata(dir) else {
                self.unwatch(dir); // Gone just now; the next look finds another.
                continue;
            };
            let is = Some((meta.dev(), meta.ino()));
            if was == Some(is) {
                continue;
            }
            match self.lay(dir) {
                Ok(()) => {
                    new = true;
                    self.watched.insert(dir.clone(), is);
                }
                Err(why) => {
                    if was != Some(None) {
                        failed.push((dir.clone(), why));
                    }
                    self.watched.insert(dir.clone(), None);
                }
            }
        }
        self.listen(ears);
        (new, failed)
    }

    fn lay(&mut self, dir: &Path) -> Result<(), String> {
        self.unwatch(dir);
        match &mut self.watcher {
            Ok(watcher) => watcher
                .watch(dir, RecursiveMode::NonRecursive)
                .map_err(|error| why(&error)),
            Err(why) => Err(why.clone()),
        }
    }

    fn unwatch(&mut self, dir: &Path) {
        if self.watched.remove(dir).flatten().is_some()
            && let Ok(watcher) = &mut self.watcher
        {
            // It fails if the directory is gone, and then there is nothing to do.
            drop(watcher.unwatch(dir));
        }
    }

    fn listen(&self, ears: BTreeMap<PathBuf, Ear>) {
        let mut state = self.bell.lock();
        state.ears.retain(|dir, _| ears.contains_key(dir));
        for (dir, ear) in ears {
            state.ears.entry(dir).or_default().ear = ear;
        }
    }

    /// Which files stand behind which real paths: writing to them is news.
    pub(super) fn listen_to(&self, files: &[(PathBuf, FileId)]) {
        let mut state = self.bell.lock();
        for here in state.ears.values_mut() {
            here.files.clear();
        }
        for (path, id) in files {
            if let (Some(dir), Some(name)) = (path.parent(), path.file_name())
                && let Some(here) = state.ears.get_mut(dir)
            {
                here.files.insert(name.to_owned(), *id);
            }
        }
    }
}

/// What stands in the way of a watch, for the operator.
fn why(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "all inotify watches are in use; raise fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{
        AccessKind, AccessMode, CreateKind, DataChange, Flag, MetadataKind, RemoveKind, RenameMode,
    };

    use super::*;
    use crate::watch::SourceId;
    use crate::watch::names::{Found, Pattern};

    /// What one event on one path does: `file`, `names`, `all` or nothing.
    fn heard(kind: EventKind, path: &Path, state: &mut State) -> String {
        let rang = state.hear(Ok(Event::new(kind).add_path(path.to_owned())));
        let hints = std::mem::take(&mut state.hints);
        assert_eq!(rang, hints.any());
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
        let mut state = State::default();
        for (dir, ear) in found.ears {
            state.ears.entry(dir).or_default().ear = ear;
        }
        let files = &mut state.ears.get_mut(&dir).unwrap().files;
        files.insert("log".into(), FileId(1));
        files.insert("log.1".into(), FileId(2));

        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let create = EventKind::Create(CreateKind::File);
        let remove = EventKind::Remove(RemoveKind::Folder);
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        for (kind, name, expected) in [
            (data, "log", "file"),
            (data, "log.1", "file"),
            (data, "other", ""),
            (data, "new.log", ""), // its creation was heard before
            (open, "log", ""),
            (create, "log", "names"),
            (create, "new.log", "names"),
            (create, "later", "names"),
            (create, "other", ""),
            (rename, "log", "names"),
            (rename, "log.1", "names"),
            (rename, "other", ""),
            (attributes, "log", "names"),
            (remove, "", "names all"), // the directory itself
        ] {
            let path = if name.is_empty() {
                dir.clone()
            } else {
                dir.join(name)
            };
            assert_eq!(heard(kind, &path, &mut state), expected, "{kind:?} {name}");
        }
        assert!(state.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(state.hints.all, "events were lost");
    }
}
