//! One heap for all threads, which gives back what it has free.
//!
//! glibc gives each thread a heap of its own, and no thread uses what another's has
//! free; and it keeps what was once large, such as what waited while thousands were banned.
//! Together that is 2 MB of 15 after an attack. How it does this it reads where a program
//! begins, so the daemon begins again with these variables set, in the same process. On the
//! way of a line one thread allocates little, so none waits for another's turn at the heap.

use std::os::unix::process::CommandExt;

use super::upgrade::in_our_place;

/// glibc's: one heap; pieces of 32 KiB and more by themselves, and given back with their
/// end; of the heap 64 KiB free at its end at most, and 16 KiB more than needed.
const VARIABLES: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "16384"),
];

/// Begins again unless somebody has set any of the variables, as the unit does. If that
/// cannot be done, it is as glibc would have it.
pub fn be_small() {
    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if VARIABLES.iter().any(is_set) {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let _error = in_our_place(&program).envs(VARIABLES).exec();
    }
}
