//! Who keeps bans in which chain or set: two cannot share one.
//!
//! fail2ban lets them, and it goes wrong (seen with Debian's 1.0.2): each one's bans count
//! at the ports of both, in a set an unban by one lifts the other's ban, and when one ends
//! all bans of the other are gone.

use std::collections::BTreeMap;

use crate::action::stock::Layout;

/// The places that are taken, and by which jail.
#[derive(Debug, Default)]
pub(in crate::config) struct Places(BTreeMap<String, String>);

impl Places {
    /// Takes the places of a jail, all or none.
    ///
    /// # Errors
    /// One is taken: which one, by whom, and what helps.
    pub(in crate::config) fn take(&mut self, jail: &str, layouts: &[Layout]) -> Result<(), String> {
        let mut own = BTreeMap::new();
        for layout in layouts {
            let place = layout.place();
            let other = match own.insert(layout.object(), jail.to_owned()) {
                Some(_) => "another action of its own".to_owned(),
                None => match self.0.get(&layout.object()) {
                    Some(other) => format!("jail {other}"),
                    None => continue,
                },
            };
            return Err(format!(
                "it would keep its bans in {place}, and so does {other}; each would lift the other's \
                 bans (with fail2ban too); give the action a name that no other has, as in \
                 `action = iptables-multiport[name={jail}-2, …]`"
            ));
        }
        self.0.extend(own);
        Ok(())
    }
}
