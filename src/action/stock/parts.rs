//! Many changes in few transactions of a program's, each all or none; and what to do when
//! one of them is refused: who can be done must not suffer for who cannot.

use std::collections::BTreeMap;

use super::Change;
use crate::action::error::Error;
use crate::addr::Addr;

/// Changes in one transaction. It goes to the kernel as one message, which has a limit:
/// without real root, 1,000 rules are too many for iptables.
const TRANSACTION_MAX: usize = 200;

/// Runs that may fail until the rest is given up: with this many a dozen bad ones are found
/// among thousands of good ones.
const FAILURES_MAX: usize = 128;

/// Who could not be put in or taken out, and why.
pub(super) type Refused = BTreeMap<Addr, Error>;

/// Has the changes done by `run`, in parts. A part that fails is done in halves if it
/// `halves`; who then fails alone, while others do not, is refused for good.
pub(super) fn put(
    changes: &[Change],
    halves: bool,
    run: &mut dyn FnMut(&[Change]) -> Result<(), Error>,
) -> Refused {
    let mut parts = Parts {
        halves,
        run,
        patience: FAILURES_MAX,
        is_any_done: false,
        alone: Refused::new(),
        refused: Refused::new(),
    };
    changes
        .chunks(TRANSACTION_MAX)
        .for_each(|part| parts.put(part));
    let is_own_fault = parts.is_any_done;
    let alone = parts.alone.into_iter().map(|(addr, error)| match error {
        Error::Rule { said, .. } if is_own_fault => (addr, Error::NotTaken { addr, said }),
        error => (addr, error),
    });
    parts.refused.extend(alone);
    parts.refused
}

/// The same for all of them, which failed together.
pub(super) fn all(changes: &[Change], error: &Error) -> Refused {
    let addrs = changes.iter().map(Change::addr);
    addrs.map(|addr| (addr, error.clone())).collect()
}

struct Parts<'a> {
    halves: bool,
    run: &'a mut dyn FnMut(&[Change]) -> Result<(), Error>,
    patience: usize,
    is_any_done: bool,
    /// Who failed without company.
    alone: Refused,
    refused: Refused,
}

impl Parts<'_> {
    fn put(&mut self, part: &[Change]) {
        let Err(error) = (self.run)(part) else {
            self.is_any_done = true;
            return;
        };
        self.patience = self.patience.saturating_sub(1);
        let is_hopeless = self.patience == 0 || error.is_of_all();
        match part {
            _ if is_hopeless || !self.halves => self.refused.extend(all(part, &error)),
            [change] => drop(self.alone.insert(change.addr(), error)),
            _ => {
                let (one, other) = part.split_at(part.len() / 2);
                self.put(one);
                self.put(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Entry;

    fn changes(count: u8) -> Vec<Change> {
        let addr = |last: u8| Addr::host(std::net::Ipv4Addr::new(192, 0, 2, last).into());
        let entry = |last| Entry {
            addr: addr(last),
            timeout_secs: 0,
        };
        (0..count).map(|last| Change::In(entry(last))).collect()
    }

    fn rule(said: &str) -> Error {
        Error::Rule {
            command: "fw".to_owned(),
            said: said.to_owned(),
        }
    }

    /// Whom `put` refuses when whoever ends so is `bad`, and in how many runs.
    fn refused(count: u8, halves: bool, bad: &[u8], said: &str) -> (Vec<String>, usize) {
        let (mut done, mut runs) = (Vec::new(), 0);
        let changes = changes(count);
        let refused = put(&changes, halves, &mut |part| {
            runs += 1;
            let is_bad = |change: &Change| match change.addr().ip() {
                std::net::IpAddr::V4(v4) => bad.contains(&v4.octets()[3]),
                std::net::IpAddr::V6(_) => false,
            };
            match part.iter().any(is_bad) {
                true => Err(rule(said)),
                false => {
                    done.extend(part.iter().map(Change::addr));
                    Ok(())
                }
            }
        });
        let all: Vec<Addr> = changes.iter().map(Change::addr).collect();
        let rest: Vec<Addr> = done.iter().chain(refused.keys()).copied().collect();
        assert_eq!(rest.len(), all.len(), "each once");
        let kind = |error: &Error| if error.is_lasting() { "yet" } else { "ever" };
        let refused = refused.iter();
        let refused = refused.map(|(addr, error)| format!("{addr} {}", kind(error)));
        (refused.collect(), runs)
    }

    #[test]
    fn one_that_cannot_be_done_costs_no_other() {
        for (count, bad, said, expected, runs) in [
            (200, &[][..], "", &[][..], 1),
            (200, &[77], "no", &["192.0.2.77 ever"], 17),
            (3, &[0, 2], "no", &["192.0.2.0 ever", "192.0.2.2 ever"], 5),
            // Alone it may be anything: nobody is given up for it.
            (1, &[0], "no", &["192.0.2.0 yet"], 1),
            (2, &[0, 1], "no", &["192.0.2.0 yet", "192.0.2.1 yet"], 3),
            (
                2,
                &[1],
                "holding the xtables lock",
                &["192.0.2.0 yet", "192.0.2.1 yet"],
                1,
            ),
        ] {
            let (refused, ran) = refused(count, true, bad, said);
            assert_eq!(
                (refused.as_slice(), ran),
                (
                    &expected
                        .iter()
                        .map(|text| (*text).to_owned())
                        .collect::<Vec<_>>()[..],
                    runs
                )
            );
        }
        let (whole, runs) = refused(200, false, &[77], "no");
        assert_eq!((whole.len(), runs), (200, 1));
        let everybody: Vec<u8> = (0..200).collect();
        let (none, runs) = refused(200, true, &everybody, "no");
        assert!(none.len() == 200 && runs <= 200, "{runs} runs");
    }
}
