//! Sets get their size, which is more than they have.
//!
//! nf_tables can neither resize a set nor rename one, and while it reorders a set it leaves
//! entries out of what it lists. So nothing is carried over: who knows everybody that a
//! set should hold hands them over twice, first into a copy that blocks from then on, then,
//! when the set has been made anew, into the set. Each step is a transaction, and at every
//! moment a set that holds them all has its rules. A crash leaves a copy; the next time the
//! set is filled from the beginning, and only then the copy goes.
//!
//! What this costs: packets are counted from zero again.

use super::{Objects, Present, Step, Target, lengths_in, make_set, remove_set};
use crate::action::error::Error;
use crate::action::family::Family;
use crate::action::firewall::{Everybody, Note};
use crate::action::name::Name;
use crate::action::nftables::order::handles_of;
use crate::action::nftables::{Header, Shape, Trouble, code, explain};
use crate::action::{BATCH_MAX, has_timeouts};
use crate::ticket::{Entry, Set};

/// A kernel set that is to be made larger, or of which a crash left a copy.
struct Growing<'a> {
    target: Target<'a>,
    shape: Shape,
    is_small: bool,
    has_copy: bool,
}

impl Objects {
    /// Gives their size to all that have less. `everybody` is called for each set of
    /// which that is so.
    pub(in crate::action) fn enlarge(
        &mut self,
        everybody: &Everybody<'_>,
    ) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        for set in self.sets.clone() {
            let present = self.look()?;
            let growing = self.growing(&set, &present);
            self.end_copies(&set, growing.iter().filter(|one| one.has_copy), everybody)?;
            let small: Vec<_> = growing.into_iter().filter(|one| one.is_small).collect();
            notes.extend(self.enlarge_all(&set, &small, everybody)?);
        }
        Ok(notes)
    }

    fn growing<'a>(&self, set: &'a Set, present: &Present) -> Vec<Growing<'a>> {
        let mut growing = Vec::new();
        for family in Family::BOTH {
            let shape = self.shape(set, family);
            for length in lengths_in(&present.sets, set, family) {
                let target = Target {
                    set,
                    family,
                    length,
                };
                let name = target.name();
                let is_small = |header: &Header| header.size != 0 && header.size < shape.size;
                let one = Growing {
                    target,
                    shape,
                    is_small: present.set(&name).is_some_and(is_small),
                    has_copy: present.set(&name.spare()).is_some(),
                };
                growing.extend((one.is_small || one.has_copy).then_some(one));
            }
        }
        growing
    }

    fn enlarge_all(
        &mut self,
        set: &Set,
        small: &[Growing<'_>],
        everybody: &Everybody<'_>,
    ) -> Result<Vec<Note>, Error> {
        if small.is_empty() {
            return Ok(Vec::new());
        }
        let reach = self.narrowed.of(set);
        for Growing { target, shape, .. } in small {
            let name = target.name();
            self.change(&name, &make_set(&name.spare(), *shape, &reach))?;
        }
        let copies: Vec<_> = small
            .iter()
            .map(|one| (&one.target, one.target.name().spare()))
            .collect();
        self.fill(set, &copies, everybody)?;
        let present = self.look()?;
        for Growing { target, shape, .. } in small {
            let name = target.name();
            let rules = handles_of(&name, &present.rules).into_iter();
            let mut steps: Vec<Step> = rules.map(Step::RemoveRule).collect();
            steps.push(Step::RemoveSet(name.to_string()));
            steps.extend(make_set(&name, *shape, &reach));
            self.change(&name, &steps)?;
        }
        let counts = self.end_copies(set, small.iter(), everybody)?;
        let notes = small
            .iter()
            .zip(counts)
            .map(|(one, entries)| Note::Enlarged {
                name: one.target.name().to_string(),
                maxelem: one.shape.size,
                entries,
            });
        Ok(notes.collect())
    }

    /// Fills these, and takes their copies away. Says how many each was given.
    fn end_copies<'a>(
        &mut self,
        set: &Set,
        growing: impl Iterator<Item = &'a Growing<'a>>,
        everybody: &Everybody<'_>,
    ) -> Result<Vec<usize>, Error> {
        let names: Vec<_> = growing
            .map(|one| (&one.target, one.target.name()))
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let counts = self.fill(set, &names, everybody)?;
        let present = self.look()?;
        for (_, name) in &names {
            self.change(name, &remove_set(&name.spare(), &present))?;
        }
        Ok(counts)
    }

    /// Puts everybody whom the set should hold into those of these kernel sets that take
    /// addresses of their kind. Whom a full one does not take its own orders tell of.
    fn fill(
        &mut self,
        set: &Set,
        into: &[(&Target<'_>, Name)],
        everybody: &Everybody<'_>,
    ) -> Result<Vec<usize>, Error> {
        let mut lanes: Vec<Vec<Entry>> = vec![Vec::with_capacity(BATCH_MAX); into.len()];
        let mut counts = vec![0; into.len()];
        let mut filled = Ok(());
        let mut send = |place: usize, lane: &mut Vec<Entry>, counts: &mut [usize]| {
            if let (Some((_, name)), Some(count)) = (into.get(place), counts.get_mut(place)) {
                match self.put(name, has_timeouts(set), lane.iter()) {
                    Ok(()) => *count += lane.len(),
                    // As many as there is room for.
                    Err(Trouble::Refused(code::ENFILE)) => {
                        let one_by_one = lane.iter().map(std::iter::once);
                        let mut taken =
                            one_by_one.map(|one| self.put(name, has_timeouts(set), one));
                        *count += taken.by_ref().filter(Result::is_ok).count();
                    }
                    Err(trouble) => filled = Err(explain(trouble, "add to", name)),
                }
            }
            lane.clear();
        };
        everybody(set, &mut |entry| {
            let (family, length) = (Family::of(&entry.addr), entry.addr.prefix_len());
            let takes = |target: &Target<'_>| (target.family, target.length) == (family, length);
            let place = into.iter().position(|(target, _)| takes(target));
            if let Some((place, lane)) =
                place.and_then(|place| Some((place, lanes.get_mut(place)?)))
            {
                lane.push(entry);
                if lane.len() == BATCH_MAX {
                    send(place, lane, &mut counts);
                }
            }
        });
        for (place, lane) in lanes.iter_mut().enumerate() {
            if !lane.is_empty() {
                send(place, lane, &mut counts);
            }
        }
        filled.map(|()| counts)
    }
}
