//! One heap for all threads.
//!
//! glibc gives each thread a heap of its own, and no thread uses what another's has
//! free: 1 MB of 15 after an attack. How many there are it reads where a program begins,
//! so the daemon begins again with `VARIABLE` set, in the same process. On the way of a
//! line one thread allocates, so none waits for another's turn at the heap.

use std::os::unix::process::CommandExt;

use super::upgrade::in_our_place;

/// glibc's; who sets it himself is left alone, as the unit does.
const VARIABLE: &str = "MALLOC_ARENA_MAX";

/// Begins again if there may be several heaps. If that cannot be done, several it is.
pub fn be_one() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let _error = in_our_place(&program).env(VARIABLE, "1").exec();
    }
}
