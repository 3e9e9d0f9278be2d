//! Looking: which names stand for which files now.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::file::{self, Identity, Look};
use super::super::names::{Found, Name};
use super::super::{FileId, Notice, SWEEP, SWEEP_BLIND, SourceId, inlet};
use super::{Followed, Tail, Trouble};

impl Tail {
    /// Compares names with files, and listens where they may change. With `renew`
    /// the kernel is asked again for every watch.
    pub(super) fn look(&mut self, now: Instant, renew: bool) {
        let mut renew = renew;
        // A new watch comes too late for what happened just before it, so we look
        // again; once, since after that the sweep is soon enough.
        for _ in 0..2 {
            let mut found = Found::default();
            for followed in &self.sources {
                found.walk(&followed.pattern, followed.source.id);
            }
            self.see_names(&found, now);
            for followed in &mut self.sources {
                followed.fresh = false;
            }
            if !self.listen(found, renew) {
                break;
            }
            renew = false;
        }
        let span = if self.wake.is_blind() {
            SWEEP_BLIND
        } else {
            SWEEP
        };
        self.next_look = Some(now + span);
    }

    /// Listens for the names, and for the files wherever they really lie. Says
    /// whether there is a new watch.
    fn listen(&mut self, mut found: Found, renew: bool) -> bool {
        let real: Vec<(PathBuf, FileId)> = self
            .files
            .iter()
            .filter_map(|file| Some((file.real_path()?, file.id)))
            .collect();
        for (path, _) in &real {
            found.hear_file(path);
        }
        let (is_new, failed) = self.wake.watch(found.ears, &real, renew);
        for (dir, why) in failed {
            self.notices.push(Notice::NotWatched(dir, why));
        }
        is_new
    }

    fn see_names(&mut self, found: &Found, now: Instant) {
        let mut places: HashMap<Identity, usize> = HashMap::with_capacity(self.files.len());
        let mut before: Vec<(bool, PathBuf)> = Vec::with_capacity(self.files.len());
        for (place, file) in self.files.iter_mut().enumerate() {
            places.insert(file.identity, place);
            before.push((std::mem::take(&mut file.named), file.path.clone()));
        }
        self.forget_inlets();
        let mut unknown = Vec::new();
        for (path, name) in &found.names {
            self.names.entry(path.clone()).or_default().plain = name.plain;
            if path.to_str().is_some_and(inlet::is_inlet) {
                self.see_inlet(path, name, None);
                continue;
            }
            match fs::metadata(path) {
                Ok(meta) if meta.is_file() => match places.get(&file::identity(&meta)) {
                    Some(place) => {
                        let is_old_name = before[*place].1 == *path;
                        self.see_file(*place, path, name, is_old_name);
                        let file = &mut self.files[*place];
                        file.dirty |= Look::of(&meta) != file.look;
                    }
                    None => unknown.push((path, name)),
                },
                Ok(meta) if meta.file_type().is_fifo() && name.plain => {
                    self.see_inlet(path, name, Some(file::identity(&meta)));
                }
                Ok(_) => self.see_trouble(path, Trouble::NotAFile),
                Err(error) => {
                    let trouble = Trouble::of(&error);
                    if trouble != Trouble::Missing {
                        self.keep_name(path);
                    }
                    self.see_trouble(path, trouble);
                }
            }
        }
        self.close_inlets(found);
        self.see_nameless(found, &before, now);
        self.is_full &= !unknown.is_empty();
        for (path, name) in unknown {
            if let Err(error) = self.open(path, name, now) {
                self.see_trouble(path, Trouble::of(&error));
            }
        }
    }

    /// A name stands for a file that is open.
    pub(super) fn see_file(&mut self, place: usize, path: &Path, name: &Name, is_old_name: bool) {
        let file = &mut self.files[place];
        if !file.named {
            file.sources.clear();
        }
        if !file.named || is_old_name {
            file.path = path.to_owned();
        }
        file.named = true;
        file.sources.extend(&name.sources);
        file.sources.sort();
        file.sources.dedup();
        let id = file.id;
        if let Some(name) = self.names.get_mut(path) {
            name.file = Some(id);
            if !file.failed_before {
                name.change(path, None, &mut self.notices);
            }
        }
    }

    pub(super) fn see_trouble(&mut self, path: &Path, trouble: Trouble) {
        if let Some(name) = self.names.get_mut(path) {
            name.change(path, Some(trouble), &mut self.notices);
        }
    }

    /// What we may not look at may well still be there.
    fn keep_name(&mut self, path: &Path) {
        let id = self.names.get(path).and_then(|name| name.file);
        if let Some(file) = self.files.iter_mut().find(|file| Some(file.id) == id) {
            file.named = true;
            file.dirty = true;
        }
    }

    /// Files without a name are read on for those who followed it; if nobody does
    /// any more, they are closed.
    fn see_nameless(&mut self, found: &Found, before: &[(bool, PathBuf)], now: Instant) {
        for (file, (was_named, _)) in self.files.iter_mut().zip(before) {
            if file.named {
                continue;
            }
            file.dirty = true;
            file.sources = followers(&self.sources, &file.path);
            if *was_named {
                file.changed = now;
                if !found.names.contains_key(&file.path) && !file.sources.is_empty() {
                    self.notices.push(Notice::Gone(file.path.clone()));
                }
            }
        }
        let (kept, closed) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|file| !file.sources.is_empty());
        self.files = kept;
        for file in closed {
            self.remember(file.position());
        }
        let (files, sources) = (&self.files, &self.sources);
        self.names.retain(|path, name| {
            let is_open = files.iter().any(|file| Some(file.id) == name.file);
            found.names.contains_key(path) || (is_open && !followers(sources, path).is_empty())
        });
    }
}

/// Whose patterns stand for this path.
pub(super) fn followers(sources: &[Followed], path: &Path) -> Vec<SourceId> {
    let mut ids: Vec<SourceId> = sources
        .iter()
        .filter(|followed| followed.pattern.names(path))
        .map(|followed| followed.source.id)
        .collect();
    ids.sort();
    ids.dedup();
    ids
}
