//! Inlets among the followed logs: opened, read, and closed when nobody names them.

use std::path::Path;

use super::super::file::Identity;
use super::super::inlet::{Inlet, Turn};
use super::super::names::{Found, Name};
use super::super::{Block, Notice};
use super::{Tail, Trouble};

impl Tail {
    /// A name stands for an inlet; `pipe` says which, if it is a pipe.
    pub(super) fn see_inlet(&mut self, path: &Path, name: &Name, pipe: Option<Identity>) {
        let is_it = |inlet: &Inlet| match pipe {
            Some(pipe) => inlet.pipe() == Some(pipe), // by whatever name
            None => inlet.path == path && !inlet.is_displaced(),
        };
        let place = match self.inlets.iter().position(is_it) {
            Some(place) => place,
            None => {
                // What takes its place comes after it is gone.
                self.inlets.retain(|inlet| !inlet.is_displaced());
                match Inlet::open(self.new_id(), path) {
                    Ok(inlet) => self.inlets.push(inlet),
                    Err(error) => return self.see_trouble(path, Trouble::of(&error)),
                }
                self.inlets.len() - 1
            }
        };
        let inlet = &mut self.inlets[place];
        if !std::mem::replace(&mut inlet.named, true) {
            inlet.sources.clear();
        }
        inlet.sources.extend(&name.sources);
        inlet.sources.sort();
        inlet.sources.dedup();
        if let Some(name) = self.names.get_mut(path) {
            name.change(path, None, &mut self.notices);
        }
    }

    /// Forgets who follows inlets, before all names are looked at.
    pub(super) fn forget_inlets(&mut self) {
        for inlet in &mut self.inlets {
            inlet.named = false;
        }
    }

    /// Closes the inlets that nobody follows any more. A pipe that lost its name is read
    /// to its end first.
    pub(super) fn close_inlets(&mut self, found: &Found) {
        let is_followed = |inlet: &Inlet| inlet.named || found.names.contains_key(&inlet.path);
        self.inlets.retain(is_followed);
    }

    pub(super) fn read_inlets(&mut self, each: &mut dyn FnMut(Block<'_>)) {
        let mut place = 0;
        while let Some(inlet) = self.inlets.get_mut(place) {
            let cut = inlet.lines_cut();
            let turn = inlet.read(&mut self.buffer, each);
            let path = || inlet.path.clone();
            if cut == 0 && inlet.lines_cut() > 0 {
                self.notices.push(Notice::LineCut(path()));
            }
            match turn {
                Ok(Turn::Read) if !inlet.named => {
                    self.inlets.remove(place);
                    continue;
                }
                Ok(Turn::Read) => {}
                Ok(Turn::More) => self.more = true,
                Ok(Turn::Left(bytes)) => self.notices.tell_unfinished(path(), bytes),
                Ok(Turn::Ended(bytes)) => {
                    self.notices.tell_unfinished(path(), bytes);
                    self.notices.push(Notice::Ended(path()));
                }
                Err(error) => {
                    let (path, trouble) = (path(), Trouble::Failed(error.to_string()));
                    self.see_trouble(&path, trouble);
                    self.inlets.remove(place);
                    continue;
                }
            }
            place += 1;
        }
    }
}
