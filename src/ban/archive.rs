//! The archive: the database through all its troubles.
//!
//! The daemon hands it what is to be kept, and goes on whatever comes of it. A database
//! that is locked, read-only, on a full disk or of another version is left as it is
//! and tried again at every write; what it holds is brought in when it can be read. One
//! that is damaged is set aside, and what can be read of it is in the new one. A file that
//! was moved away is made anew.
//!
//! What always holds: a record is out of the caller's hands only when it is on disk, and
//! nothing that the file knows is written over by somebody who has not seen it.
//!
//! The archive is *whole* if it holds all that was in force when the last run ended. Whom
//! only the kernel holds is over by then, and can be let go. It is not whole where nobody
//! will ever know all of it: the file is new, was damaged, or the last run kept another. Whom
//! only the kernel holds is one whom it has lost.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::open::beside;
use super::record::{Kept, Record};
use super::salvage;
use super::store::{LOCK_WAIT, Store, StoreError, Trouble};
use crate::addr::Addr;
use crate::ticket::{Ban, JailName, Reason, last_lines};
use crate::time::Time;

/// How long the start waits for another program's lock: a backup of the file takes as
/// long, and every second of it is one without us.
const START_WAIT: Duration = Duration::from_secs(5);

/// A disk that damages the file again and again shall not be filled with what is set aside.
const REPAIR_EVERY: Duration = Duration::from_secs(3_600);

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a ban stays in the history.
    pub purge_age: Duration,
    /// How many of the lines that convicted are kept with a ban.
    pub matches: usize,
}

impl Default for Terms {
    /// A day, and ten lines, as fail2ban keeps them.
    fn default() -> Self {
        Terms {
            purge_age: Duration::from_secs(86_400),
            matches: 10,
        }
    }
}

/// A database that may not be usable just now.
#[derive(Debug)]
pub struct Archive {
    /// Where it lies; nowhere if nothing is to be kept.
    path: Option<PathBuf>,
    store: Option<Store>,
    /// What can be read of it while it cannot be written; until the first write.
    reading: Option<Store>,
    /// It may hold what nobody has loaded.
    unseen: bool,
    /// What was found in it only now.
    late: Option<Kept>,
    /// Does it hold all that was in force before, whether or not somebody has loaded it?
    whole: bool,
    /// Why not, if that is somebody's fault.
    lost: Option<String>,
    /// It is new, or was made of the remains of another.
    anew: bool,
    repaired: Option<Time>,
    terms: Terms,
    /// May it be written by us, as far as rights go?
    is_ours: bool,
    trouble: Option<String>,
    news: Vec<String>,
}

impl Archive {
    /// One that keeps nothing.
    pub fn none() -> Archive {
        Archive {
            path: None,
            store: None,
            reading: None,
            unseen: false,
            late: None,
            whole: false,
            lost: None,
            anew: false,
            repaired: None,
            terms: Terms::default(),
            is_ours: true,
            trouble: None,
            news: Vec::new(),
        }
    }

    /// Opens the database there; a locked one is waited for. It never fails:
    /// [`Archive::trouble`] says what is wrong.
    pub fn open(path: &Path, now: Time) -> Archive {
        let mut archive = Archive {
            path: Some(path.to_owned()),
            unseen: true,
            whole: true,
            ..Archive::none()
        };
        if let Err(error) = archive.try_open(path, START_WAIT, now) {
            archive.trouble = Some(error.to_string());
            if error.trouble() != Trouble::Version {
                archive.reading = Store::open_reading(path).ok();
            }
            archive.is_ours = !matches!(error.trouble(), Trouble::ReadOnly | Trouble::Other);
        }
        archive
    }

    /// The same for a file that is another program's. If it may not be written, all goes
    /// into our `own` file, which begins as a copy of it. Of the two the last run kept the one
    /// that was written last.
    pub fn open_shared(path: &Path, own: &Path, now: Time) -> Archive {
        let (theirs_written, own_written) = (written(path), written(own));
        let mut shared = Archive::open(path, now);
        let Some(trouble) = shared.trouble().filter(|_| !shared.is_ours) else {
            if own_written > theirs_written {
                let (path, own) = (path.display(), own.display());
                let why = format!(
                    "the last run kept its state in {own}, since it could not use {path}; this one keeps it in {path} again"
                );
                shared.news.push(why.clone());
                shared.has_lost(why);
            }
            return shared;
        };
        let mut copied = "";
        if !own.exists()
            && let Some(reading) = &shared.reading
        {
            make_folder(own);
            match reading.copy_to(own) {
                Ok(()) => copied = ", and begins as a copy of it",
                // What was begun is no copy.
                Err(_) => return shared,
            }
        }
        let mut archive = Archive::open(own, now);
        archive.news.push(format!(
            "{trouble}; state is kept in {} instead{copied}",
            own.display()
        ));
        if copied.is_empty() && theirs_written > own_written {
            archive.has_lost(trouble.to_owned());
        }
        archive
    }

    /// The same on other terms.
    pub fn on(self, terms: Terms) -> Archive {
        Archive { terms, ..self }
    }

    /// What is kept from before and still holds at `now`; nothing if it cannot be read.
    pub fn load(&mut self, now: Time) -> Kept {
        let loaded = self.try_load(now);
        match loaded {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                self.trouble = Some(error.to_string());
                Kept::default()
            }
        }
    }

    /// The facts whose names begin so, as JSON, by name; none if they cannot be read.
    pub fn facts(&self, beginning: &str) -> Vec<String> {
        let store = self.store.as_ref().or(self.reading.as_ref());
        store
            .and_then(|store| store.facts(beginning).ok())
            .unwrap_or_default()
    }

    /// Writes all records in one transaction, and takes them; if it cannot, they stay.
    pub fn write(&mut self, records: &mut Vec<Record>, now: Time) -> Result<(), StoreError> {
        let Some(path) = self.path.clone() else {
            records.clear();
            return Ok(());
        };
        for record in records.iter_mut() {
            if let Record::Ban { testimony, .. } = record {
                let lines = &mut testimony.lines;
                let kept = last_lines(lines, self.terms.matches);
                if kept.len() < lines.len() {
                    *lines = kept.into();
                }
            }
        }
        let written = self.try_write(&path, records, now);
        self.trouble = written.as_ref().err().map(ToString::to_string);
        if let Err(error) = &written
            && !matches!(error.trouble(), Trouble::Locked | Trouble::Full)
        {
            // A file that was opened anew may have lost its trouble.
            self.store = None;
        }
        written
    }

    /// Forgets what is over, if the database can be written.
    pub fn purge(&mut self, now: Time) -> Result<(), StoreError> {
        let age = self.terms.purge_age;
        self.store
            .as_mut()
            .map_or(Ok(()), |store| store.purge(age, now))
    }

    /// What is wrong with it, if it cannot be used.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// May it hold what nobody has read yet?
    pub fn is_unread(&self) -> bool {
        self.unseen
    }

    /// Does it hold all that was in force before, and has it been read? Whom only the kernel
    /// holds is over then.
    pub fn is_whole(&self) -> bool {
        self.whole && !self.unseen
    }

    /// Why it does not hold all that was in force before, if that is nobody's wish. It stays
    /// so for all of this run.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    fn has_lost(&mut self, why: String) {
        self.whole = false;
        self.lost = Some(why);
    }

    /// What somebody should know, once.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// What the file holds from before, once, if it could not be read at start.
    pub fn take_late(&mut self) -> Option<Kept> {
        self.late.take()
    }

    /// Must everything in force be written again, since the file may not know it? Says so once.
    pub fn take_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    fn try_open(&mut self, path: &Path, patience: Duration, now: Time) -> Result<(), StoreError> {
        make_folder(path);
        if salvage::finish(path) {
            let path = path.display();
            self.has_lost(format!(
                "the database {path} was damaged; what was saved of it is kept"
            ));
        }
        let is_new = !path.exists();
        let store = match Store::open_patiently(path, patience) {
            Err(error) if error.trouble() == Trouble::Corrupt => {
                self.repair(path, error, now)?;
                Store::open_patiently(path, patience)?
            }
            opened => opened?,
        };
        self.store = Some(store);
        self.reading = None;
        self.whole &= !is_new;
        Ok(())
    }

    fn try_load(&mut self, now: Time) -> Result<Option<Kept>, StoreError> {
        let store = self.store.as_ref().or(self.reading.as_ref());
        let kept = match (store.map(|store| store.load(now)), &self.path) {
            (Some(Err(error)), Some(path))
                if self.store.is_some() && error.trouble() == Trouble::Corrupt =>
            {
                let path = path.clone();
                self.store = None;
                self.repair(&path, error, now)?;
                self.try_open(&path, LOCK_WAIT, now)?;
                self.store.as_ref().map(|store| store.load(now))
            }
            (loaded, _) => loaded,
        };
        let kept = kept.transpose()?;
        self.unseen &= kept.is_none();
        Ok(kept)
    }

    fn try_write(
        &mut self,
        path: &Path,
        records: &mut Vec<Record>,
        now: Time,
    ) -> Result<(), StoreError> {
        if self
            .store
            .as_ref()
            .is_some_and(|store| !store.is_in_place())
        {
            self.news.push(format!(
                "the database {} was moved away or deleted; what is in force is written into a new one",
                path.display()
            ));
            (self.store, self.anew) = (None, true);
        }
        if self.store.is_none() {
            self.reading = None;
            self.try_open(path, LOCK_WAIT, now)?;
        }
        if self.unseen
            && let Some(mut kept) = self.try_load(now)?
        {
            reconcile(&mut kept, records);
            self.late = Some(kept);
        }
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        match store.write(records) {
            Err(error) if error.trouble() == Trouble::Corrupt => {
                self.store = None;
                self.repair(path, error, now)?;
                self.try_open(path, LOCK_WAIT, now)?;
                if let Some(store) = &mut self.store {
                    store.write(records)?;
                }
            }
            written => written?,
        }
        records.clear();
        Ok(())
    }

    fn repair(&mut self, path: &Path, error: StoreError, now: Time) -> Result<(), StoreError> {
        if self
            .repaired
            .is_some_and(|last| now.since(last) < REPAIR_EVERY)
        {
            return Err(error);
        }
        let salvage::Repair { aside, rows } = salvage::repair(path, now)?;
        self.repaired = Some(now);
        self.anew = true;
        self.news.push(format!(
            "{error}; it lies in {} now, and {rows} rows of it were saved into a new one",
            aside.display()
        ));
        self.has_lost(format!("{error}; {rows} rows of it were saved"));
        Ok(())
    }
}

/// When a database was written last, the earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    /// It is not there.
    Never,
    At(SystemTime),
    /// It may not be looked at.
    NobodyKnows,
}

fn written(path: &Path) -> Written {
    let at = |path: &Path| match std::fs::metadata(path) {
        Ok(file) => file.modified().map_or(Written::NobodyKnows, Written::At),
        Err(error) if error.kind() == ErrorKind::NotFound => Written::Never,
        Err(_) => Written::NobodyKnows,
    };
    let log = beside(path, "-wal");
    // An empty one is made by whoever reads.
    let is_empty = std::fs::metadata(&log).is_ok_and(|log| log.len() == 0);
    match is_empty {
        true => at(path),
        false => at(path).max(at(&log)),
    }
}

/// Makes the folder of a file. If this fails, opening the file says why.
fn make_folder(path: &Path) {
    if let Some(folder) = path.parent() {
        let _folder = std::fs::create_dir_all(folder);
    }
}

/// Brings together what the file holds and what happened before it could be read: who was
/// pardoned stays so, counts go on, and a ban that we know from the kernel only is the one
/// that the file knows better.
fn reconcile(kept: &mut Kept, records: &mut Vec<Record>) {
    let bans = kept.bans.iter().map(|ban| (ban.jail.clone(), ban.addr));
    let bans: HashSet<(JailName, Addr)> = bans.collect();
    let counts = kept.history.iter();
    let counts = counts.map(|past| ((past.jail.clone(), past.addr), past.count));
    let counts: HashMap<(JailName, Addr), u32> = counts.collect();
    let mut pardoned = Vec::new();
    records.retain_mut(|record| {
        match record {
            Record::Ban { ban, count, .. } => {
                let who = (ban.jail.clone(), ban.addr);
                if is_from_kernel(ban) && bans.contains(&who) {
                    return false;
                }
                *count = count.saturating_add(counts.get(&who).copied().unwrap_or(0));
            }
            Record::Unban { jail, addr } => {
                kept.bans
                    .retain(|ban| ban.jail != *jail || ban.addr != *addr);
                kept.history
                    .retain(|past| past.jail != *jail || past.addr != *addr);
            }
            // The pardon of a prefix goes for all in it; only now we see whom.
            Record::Forget(prefix) => {
                let jails = kept
                    .history
                    .iter()
                    .filter(|past| prefix.contains(&past.addr));
                pardoned.extend(jails.map(|past| Record::Unban {
                    jail: past.jail.clone(),
                    addr: past.addr,
                }));
                kept.bans.retain(|ban| !prefix.contains(&ban.addr));
                kept.history.retain(|past| !prefix.contains(&past.addr));
            }
            _ => {}
        }
        true
    });
    // Before all others: who was banned again after the pardon stays banned.
    records.splice(0..0, pardoned);
}

/// Is all that we know of this ban an entry of a kernel set?
pub fn is_from_kernel(ban: &Ban) -> bool {
    ban.reason == Reason::MaxRetry && ban.tries == 0
}
