//! The tail: all files that are followed, and the one who reads them.
//!
//! A look compares names with open files: a file that lost its name was rotated
//! or removed and is read until it is quiet; a name with an unknown file behind it
//! is opened. A read then takes what is new, file by file, each for a turn. Looks
//! are made when the kernel tells of names, and by the sweep; reads only where
//! something changed.
//!
//! Time is an argument; only [`Tail::wait`] sleeps.

mod inlets;
mod look;
mod open;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::open::Search;
use super::file::{File, READ_BYTES, Turn};
use super::inlet::Inlet;
use super::names::Pattern;
use super::notice::{Notice, Notices};
use super::rotated::SIBLINGS_MAX;
use super::wake::{Wake, Waker, Woken};
use super::{
    Block, FILES_MAX, FileId, FileState, FileStatus, Position, ROTATE_WAIT, Source, SourceId,
    TURN_BYTES_MAX,
};

/// How many positions of files that are not open are kept, so that no rotated
/// file is taken for a new one: as many as are looked at.
const REMEMBERED_OF_PATH_MAX: usize = SIBLINGS_MAX;

/// How many are kept of all paths together; a glob's names may be without number.
const REMEMBERED_MAX: usize = 4 * FILES_MAX;

/// Says whether a line is old.
pub type Ages = Box<dyn FnMut(&[SourceId], &[u8]) -> Option<bool> + Send>;

/// All followed logs. One thread owns it, waits on it and reads from it.
pub struct Tail {
    sources: Vec<Followed>,
    names: BTreeMap<PathBuf, Name>,
    files: Vec<File>,
    inlets: Vec<Inlet>,
    /// How far files were read that are not open now, oldest first.
    remembered: Vec<Position>,
    wake: Wake,
    ages: Option<Ages>,
    notices: Notices,
    buffer: Box<[u8]>,
    next_id: u64,
    /// When everything is looked at again; at once if there is no such time.
    next_look: Option<Instant>,
    /// Did the last read leave something for the next?
    more: bool,
    /// Are there more files than we follow?
    is_full: bool,
}

/// A source and what we know of it.
struct Followed {
    source: Source,
    pattern: Pattern,
    /// Nobody has looked for its files yet; what is there now was there before.
    fresh: bool,
}

/// A path that somebody follows.
#[derive(Default)]
struct Name {
    plain: bool,
    /// What stood behind it last; it may be closed by now.
    file: Option<FileId>,
    trouble: Option<Trouble>,
}

/// Why nothing can be read under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Missing,
    Denied,
    NotAFile,
    Failed(String),
    TooMany,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Trouble::Missing,
            io::ErrorKind::PermissionDenied => Trouble::Denied,
            io::ErrorKind::InvalidInput => Trouble::NotAFile,
            _ => Trouble::Failed(error.to_string()),
        }
    }

    fn state(&self) -> FileState {
        FileState::Unreadable(match self {
            Trouble::Missing => return FileState::Missing,
            Trouble::Denied => "permission denied".to_owned(),
            Trouble::NotAFile => "neither a file nor a named pipe".to_owned(),
            Trouble::Failed(why) => why.clone(),
            Trouble::TooMany => format!("more than {FILES_MAX} files"),
        })
    }
}

impl Name {
    /// Something else is the matter now, or nothing: says so, once. A glob's files
    /// may come and go, and its directories and pipes are no mistake.
    fn change(&mut self, path: &Path, trouble: Option<Trouble>, notices: &mut Notices) {
        if self.trouble == trouble {
            return;
        }
        let path = path.to_owned();
        let notice = match (&self.trouble, &trouble) {
            (_, Some(Trouble::Missing)) if self.file.is_some() => Some(Notice::Gone(path)),
            (_, Some(Trouble::Missing)) if self.plain => Some(Notice::Missing(path)),
            (_, Some(Trouble::Denied)) => Some(Notice::Denied(path)),
            (_, Some(Trouble::NotAFile)) if self.plain => Some(Notice::NotAFile(path)),
            (_, Some(Trouble::Failed(why))) => Some(Notice::Failed(path, why.clone())),
            (Some(Trouble::Missing), None) => Some(Notice::Appeared(path)),
            (Some(Trouble::TooMany), None) => None,
            (Some(_), None) => Some(Notice::Readable(path)),
            _ => None,
        };
        if let Some(notice) = notice {
            notices.push(notice);
        }
        self.trouble = trouble;
    }
}

impl Tail {
    /// Follows `sources`, going on where `positions` say. Nothing is read yet.
    pub fn new(sources: Vec<Source>, positions: Vec<Position>) -> Self {
        let mut tail = Tail {
            sources: Vec::new(),
            names: BTreeMap::new(),
            files: Vec::new(),
            inlets: Vec::new(),
            remembered: positions,
            wake: Wake::new(),
            ages: None,
            notices: Notices::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            next_id: 0,
            next_look: None,
            more: false,
            is_full: false,
        };
        tail.set_sources(sources);
        tail
    }

    /// Follows other sources from now on. Files that stay keep their place; what
    /// is there under a new pattern counts as there before.
    pub fn set_sources(&mut self, sources: Vec<Source>) {
        let old = std::mem::take(&mut self.sources);
        let is_known = |source: &Source| {
            old.iter()
                .any(|old| old.source.pattern == source.pattern && !old.fresh)
        };
        self.sources = sources
            .into_iter()
            .map(|source| Followed {
                pattern: Pattern::new(&source.pattern),
                fresh: !is_known(&source),
                source,
            })
            .collect();
        self.next_look = None;
    }

    /// Tells which lines are recent, for [`Start::Recent`](super::Start::Recent): is this
    /// line of these sources old? `None` if it does not say.
    pub fn set_ages(&mut self, ages: Ages) {
        self.ages = Some(ages);
    }

    /// Something with which another thread ends [`Tail::wait`].
    pub fn waker(&self) -> Waker {
        self.wake.waker()
    }

    /// Sleeps until a log may have changed, at most `timeout`, and never past the
    /// next sweep. Does not sleep if the last read left something. Whatever it
    /// says, [`Tail::read`] comes next: that is where the sweep is made.
    pub fn wait(&mut self, timeout: Duration) -> Woken {
        self.wait_beside(timeout, &[])
    }

    /// The same; ends as well when one of `others` can be read.
    pub fn wait_beside(&mut self, timeout: Duration, others: &[BorrowedFd<'_>]) -> Woken {
        let now = Instant::now();
        let until = match self.next_look {
            Some(look) if !self.more => look.min(now.checked_add(timeout).unwrap_or(look)),
            _ => now,
        };
        let inlets = self.inlets.iter().filter_map(Inlet::fd);
        let others: Vec<BorrowedFd<'_>> = others.iter().copied().chain(inlets).collect();
        match self.wake.wait(until, &others) {
            Woken::Time if self.more => Woken::News,
            woken => woken,
        }
    }

    /// Opens what is there now, so that from here on no line is missed. Nothing is read.
    pub fn open_all(&mut self, now: Instant) {
        self.look(now, false);
    }

    /// Hands on what is new, a turn for each file; says whether there is more.
    ///
    /// `each` may take its time: the log is the queue.
    pub fn read(&mut self, now: Instant, each: &mut dyn FnMut(Block<'_>)) -> bool {
        let hints = self.wake.take();
        if hints.names || hints.all || self.next_look.is_none_or(|look| now >= look) {
            self.look(now, hints.all);
        }
        for file in &mut self.files {
            file.dirty |= hints.files.contains(&file.id);
        }
        self.more = false;
        let mut place = 0;
        while place < self.files.len() {
            if self.read_file(place, now, each) {
                place += 1;
            }
        }
        self.close_finished(now);
        self.read_inlets(each);
        self.more
    }

    /// How far each file was read: all that stands before it was handed on. Hand
    /// them to [`Tail::new`] to go on there.
    pub fn positions(&self) -> Vec<Position> {
        // Older content first: the last one of a path is where its log stands.
        let (named, nameless): (Vec<_>, Vec<_>) = self.files.iter().partition(|file| file.named);
        let open = nameless.into_iter().chain(named).map(File::position);
        self.remembered.iter().cloned().chain(open).collect()
    }

    /// What happened since the last call, oldest first.
    pub fn notices(&mut self) -> Vec<Notice> {
        self.notices.take()
    }

    /// How each followed log is doing; rotated files stand before their successors.
    pub fn files(&self) -> Vec<FileStatus> {
        let mut all: Vec<FileStatus> = self.files.iter().map(File::status).collect();
        all.extend(self.inlets.iter().map(Inlet::status));
        all.extend(self.names.iter().filter_map(|(path, name)| {
            Some(FileStatus {
                path: path.clone(),
                state: name.trouble.as_ref()?.state(),
                offset: 0,
                size: 0,
                lines_cut: 0,
            })
        }));
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    fn new_id(&mut self) -> FileId {
        self.next_id += 1;
        FileId(self.next_id)
    }

    fn file(&self, id: FileId) -> Option<&File> {
        self.files.iter().find(|file| file.id == id)
    }
}

/// Reading.
impl Tail {
    /// Gives one file its turn. Says whether it is still there.
    fn read_file(&mut self, place: usize, now: Instant, each: &mut dyn FnMut(Block<'_>)) -> bool {
        let file = &self.files[place];
        if !file.dirty {
            return true;
        }
        if let Some(before) = file.after {
            if self.file(before).is_some_and(|before| before.dirty) {
                self.more = true;
                return true;
            }
            self.files[place].after = None;
        }
        let file = &mut self.files[place];
        let cut = file.lines_cut();
        let turn = file.read(&mut self.buffer, TURN_BYTES_MAX, now, each);
        if cut == 0 && file.lines_cut() > 0 {
            self.notices.push(Notice::LineCut(file.path.clone()));
        }
        if let Some(how) = file.compressed()
            && !std::mem::replace(&mut file.is_told, true)
        {
            self.notices
                .push(Notice::Compressed(file.path.clone(), how));
        }
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                self.fail(place, &error);
                return false;
            }
        };
        if std::mem::take(&mut file.failed_before) {
            self.set_trouble(place, None);
        }
        self.more |= turn != Turn::End;
        if turn != Turn::Truncated {
            return true;
        }
        let is_overwritten = self.is_overwritten(place);
        if is_overwritten {
            self.give_up(place, now);
        } else {
            self.begin_again(place, now);
        }
        !is_overwritten
    }

    /// Has a copy of its log, or of another rotated file, been put in the place of
    /// this rotated file? Otherwise it was truncated before it was renamed.
    fn is_overwritten(&self, place: usize) -> bool {
        let file = &self.files[place];
        let Ok(head) = file.head() else {
            return false;
        };
        let others = self.files.iter().filter(|other| other.id != file.id);
        !file.named
            && (self.remembered.iter().cloned())
                .chain(others.map(File::position))
                .any(|known| known.path == file.path && known.is_copied_by(u64::MAX, &head))
    }

    /// The file has new content. If the old was copied away before, and further
    /// than we had read, what is missing is read from the copy first.
    fn begin_again(&mut self, place: usize, now: Instant) {
        let id = self.new_id();
        let file = &mut self.files[place];
        let (old_id, old, identity) = (file.id, file.position(), file.identity);
        file.begin_again(id);
        self.notices.push(Notice::Truncated(old.path.clone()));
        let names = self.names.values_mut().map(|name| &mut name.file);
        let successors = self.files.iter_mut().map(|file| &mut file.after);
        for known in names
            .chain(successors)
            .filter(|known| **known == Some(old_id))
        {
            *known = Some(id);
        }
        let path = old.path.clone();
        self.remember(old);
        let head = self.files[place].head().unwrap_or_default();
        let search = Search::running(identity, head, now);
        self.files[place].after = self.open_earlier(&path, &search);
        self.next_look = None; // The kernel's word is still tied to the old id.
    }

    /// The copy that lies in a rotated file's place is looked at as any other.
    fn give_up(&mut self, place: usize, now: Instant) {
        let old = self.files.remove(place).position();
        let path = old.path.clone();
        self.remember(old);
        let present = self.names.get(&path).and_then(|name| name.file);
        let present = present.and_then(|id| self.file(id));
        let except = present.map_or((0, 0), |file| file.identity);
        let head = present.and_then(|file| file.head().ok());
        let search = Search::running(except, head.unwrap_or_default(), now);
        self.open_earlier(&path, &search);
    }

    /// The file cannot be read any more: it is closed, and opened again by the
    /// next sweep if it still has a name.
    fn fail(&mut self, place: usize, error: &io::Error) {
        self.set_trouble(place, Some(Trouble::Failed(error.to_string())));
        let position = self.files.remove(place).position();
        self.remember(position);
    }

    fn set_trouble(&mut self, place: usize, trouble: Option<Trouble>) {
        let path = self.files[place].path.clone();
        if let Some(name) = self.names.get_mut(&path) {
            name.change(&path, trouble, &mut self.notices);
        }
    }

    /// Closes the files that lost their name and are quiet.
    fn close_finished(&mut self, now: Instant) {
        for place in (0..self.files.len()).rev() {
            let file = &self.files[place];
            if self.is_finished(file, now) {
                self.notices
                    .tell_unfinished(file.path.clone(), file.carried());
                let file = self.files.remove(place);
                let mut position = file.position();
                position.offset += file.carried() as u64;
                self.remember(position);
            }
        }
    }

    fn is_finished(&self, file: &File, now: Instant) -> bool {
        if file.named || file.dirty || now.saturating_duration_since(file.changed) < ROTATE_WAIT {
            return false;
        }
        // If nobody writes to the new file, its server was not told to reopen and
        // still writes to the old one, however seldom.
        let is_followed_by_silence = self.names.get(&file.path).is_some_and(|name| {
            let newest = self
                .files
                .iter()
                .rfind(|other| !other.named && other.path == file.path);
            name.plain
                && newest.is_some_and(|newest| newest.id == file.id)
                && name
                    .file
                    .and_then(|id| self.file(id))
                    .is_none_or(|new| new.look.size == 0 || new.id == file.id)
        });
        !is_followed_by_silence || file.is_removed()
    }

    fn remember(&mut self, position: Position) {
        if position.offset == 0 && position.head.len == 0 {
            return; // It says nothing.
        }
        let same_path = |known: &Position| known.path == position.path;
        let of_path = self.remembered.iter().filter(|known| same_path(known));
        let is_much = of_path.count() >= REMEMBERED_OF_PATH_MAX;
        if is_much && let Some(oldest) = self.remembered.iter().position(same_path) {
            self.remembered.remove(oldest);
        }
        self.remembered.push(position);
        let surplus = self.remembered.len().saturating_sub(REMEMBERED_MAX);
        self.remembered.drain(..surplus);
    }
}
