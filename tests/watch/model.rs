//! Random programs against a model.
//!
//! The model knows what every generation of a log's content holds, whether it
//! still lies on the disk and whether the reader has it open. After every read,
//! exactly the whole lines of everything that can be read must have come out,
//! each once, each generation in its order. A crash takes the reader back to the
//! positions that were last saved, and the model with it: what came after them
//! must come again, exactly that.
//!
//! A line is lost only if it lay nowhere any more, or under no name that a reader
//! could know, when the reader came: it was truncated, deleted or compressed
//! between two looks. The model allows no other loss, and the run tells how many
//! lines that were.
//!
//! `just model steps=100000` runs longer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use ringfence::watch::{
    HEAD_BYTES_MAX, Position, ROTATE_WAIT, SWEEP, Source, SourceId, Start, Tail,
};
use tempfile::TempDir;

use super::append_to;

/// How many steps are run when nothing else is said: some seconds.
const STEPS: usize = 6_000;
const PROGRAM_STEPS_MAX: usize = 60;
/// How many rotated files are kept.
const KEPT: usize = 3;
const LOGS: [&str; 3] = ["a.log", "b.log", "c.log"];
/// The log that is a symlink, by its place. Its targets have names of their own.
const LINK: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many whole lines at the end of a log.
    Lines {
        log: usize,
        count: usize,
    },
    /// The beginning of a line, or more of it.
    Part {
        log: usize,
    },
    /// A whole line by a writer that still holds the previous file.
    Late {
        log: usize,
    },
    /// Rename all; with a new empty file, or without until the next line.
    Rotate {
        log: usize,
        create: bool,
    },
    /// So many rotations in a row, each with a line that nobody has read.
    Rotations {
        log: usize,
        count: usize,
    },
    /// Rotated files beyond the first so many are compressed.
    Compress {
        log: usize,
        kept: usize,
    },
    /// The symlink gets a new, empty target; the old one stays where it is.
    Retarget,
    /// With whatever comes between the copy and the truncation, which the copy lacks.
    CopyTruncate {
        log: usize,
        between: Between,
    },
    Truncate {
        log: usize,
    },
    Delete {
        log: usize,
    },
    Read,
    /// Long enough that rotated files are closed, and a read.
    Pause,
    Save,
    Restart,
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Nothing,
    Line,
    LineAndRead,
    /// And the reader has not seen that the log is newer than its copy. The copy can be
    /// known then if it is as long as a whole head.
    LineAndHastyRead,
}

fn step() -> impl Strategy<Value = Step> {
    let log = || 0..LOGS.len();
    let file = || 0..LINK;
    prop_oneof![
        8 => (log(), 1..4_usize).prop_map(|(log, count)| Step::Lines { log, count }),
        3 => log().prop_map(|log| Step::Part { log }),
        2 => log().prop_map(|log| Step::Late { log }),
        3 => (file(), any::<bool>()).prop_map(|(log, create)| Step::Rotate { log, create }),
        1 => (file(), 2..KEPT + 2).prop_map(|(log, count)| Step::Rotations { log, count }),
        1 => (file(), 0..KEPT).prop_map(|(log, kept)| Step::Compress { log, kept }),
        2 => Just(Step::Retarget),
        2 => (file(), between()).prop_map(|(log, between)| Step::CopyTruncate { log, between }),
        1 => log().prop_map(|log| Step::Truncate { log }),
        1 => file().prop_map(|log| Step::Delete { log }),
        8 => Just(Step::Read),
        2 => Just(Step::Pause),
        2 => Just(Step::Save),
        2 => Just(Step::Restart),
        2 => Just(Step::Crash),
    ]
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        3 => Just(Between::Nothing),
        1 => Just(Between::Line),
        1 => Just(Between::LineAndRead),
        1 => Just(Between::LineAndHastyRead),
    ]
}

/// One content of a log, from its first byte until it is truncated or rotated away.
#[derive(Clone, Debug, Default)]
struct Generation {
    bytes: Vec<u8>,
    /// How many of its lines came out; and how many had when positions were saved.
    read: usize,
    read_saved: usize,
    /// How many of its lines are in its copy, if that is all that is left of it.
    copied: Option<usize>,
    /// The reader has it open.
    held: bool,
    /// The reader saw it, and saw that it was empty.
    seen_empty: bool,
    /// The reader saw its first bytes.
    seen: bool,
    /// A position says that the reader knows it, whatever its name; and did so
    /// when positions were saved.
    known: bool,
    known_saved: bool,
}

impl Generation {
    fn lines(&self) -> Vec<String> {
        let whole = self.bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |newline| newline + 1);
        let text = String::from_utf8_lossy(&self.bytes[..whole]);
        text.lines().map(str::to_owned).collect()
    }

    fn learn_known(&mut self) {
        self.known |= self.held && self.seen;
    }
}

/// One log: its files by age, the present one first, as places in `generations`.
#[derive(Debug, Default)]
struct Log {
    generations: Vec<Generation>,
    present: Option<usize>,
    rotated: Vec<usize>,
    late: Option<usize>,
}

struct World {
    dir: TempDir,
    tail: Option<Tail>,
    now: Instant,
    written: SystemTime,
    logs: [Log; LOGS.len()],
    /// Writers that hold a rotated file, and for how many reads they were quiet.
    late: HashMap<usize, (File, u32)>,
    saved: Vec<Position>,
    out: Vec<String>,
    out_saved: Vec<String>,
    next: usize,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            dir: tempfile::tempdir().unwrap(),
            tail: None,
            now: Instant::now(),
            written: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            logs: Default::default(),
            late: HashMap::new(),
            saved: Vec::new(),
            out: Vec::new(),
            out_saved: Vec::new(),
            next: 0,
        };
        fs::create_dir(world.dir.path().join("targets")).unwrap();
        world.start(Vec::new());
        world.retarget();
        for log in 0..LOGS.len() {
            world.run(Step::Lines { log, count: 1 });
        }
        world.run(Step::Read);
        world.run(Step::Save);
        world
    }

    fn start(&mut self, positions: Vec<Position>) {
        let patterns = ["a.log", "*.log"];
        let sources = patterns.iter().enumerate().map(|(place, pattern)| Source {
            id: SourceId(place),
            pattern: self.dir.path().join(pattern).display().to_string(),
            start: Start::Head,
        });
        self.tail = Some(Tail::new(sources.collect(), positions));
        self.late.clear();
        for log in &mut self.logs {
            log.late = None;
            for generation in &mut log.generations {
                generation.held = false;
            }
        }
    }

    fn path(&self, log: usize, age: usize) -> PathBuf {
        let name = LOGS[log];
        self.dir.path().join(match age {
            0 => name.to_owned(),
            age => format!("{name}.{age}"),
        })
    }

    /// A text of which no other text is a part, longer than a telling head.
    fn text(&mut self) -> String {
        self.next += 1;
        format!("<line number {:06}>", self.next)
    }

    fn stamp(&mut self, file: &File) {
        self.written += Duration::from_secs(1);
        file.set_modified(self.written).unwrap();
    }

    fn write(&mut self, log: usize, text: &str) {
        let mut file = append_to(&self.path(log, 0));
        file.write_all(text.as_bytes()).unwrap();
        self.stamp(&file);
        let log = &mut self.logs[log];
        let present = *log.present.get_or_insert_with(|| {
            log.generations.push(Generation::default());
            log.generations.len() - 1
        });
        log.generations[present].bytes.extend(text.as_bytes());
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Lines { log, count } => {
                let lines: String = (0..count).map(|_| self.text() + "\n").collect();
                self.write(log, &lines);
            }
            Step::Part { log } => {
                let text = self.text();
                self.write(log, &text);
            }
            Step::Late { log } => self.write_late(log),
            Step::Rotate { log, create } => {
                self.rotate(log);
                if create {
                    self.write(log, "");
                }
            }
            Step::Rotations { log, count } => {
                for _ in 0..count {
                    let line = self.text() + "\n";
                    self.write(log, &line);
                    self.rotate(log);
                }
                self.write(log, "");
            }
            Step::Compress { log, kept } => self.compress(log, kept),
            Step::Retarget => self.retarget(),
            Step::CopyTruncate { log, between } => self.copy_truncate(log, between),
            Step::Truncate { log } => self.truncate(log),
            Step::Delete { log } => {
                if self.logs[log].present.take().is_some() {
                    fs::remove_file(self.path(log, 0)).unwrap();
                }
            }
            Step::Read => self.read(),
            Step::Pause => {
                self.read();
                self.now += ROTATE_WAIT;
                self.late.clear();
                self.read();
            }
            Step::Save => {
                self.saved = self.tail.as_ref().unwrap().positions();
                self.out_saved = self.out.clone();
                for generation in self.logs.iter_mut().flat_map(|log| &mut log.generations) {
                    generation.read_saved = generation.read;
                    generation.learn_known();
                    generation.known_saved = generation.known;
                }
            }
            Step::Restart => {
                let positions = self.tail.take().unwrap().positions();
                for generation in self.logs.iter_mut().flat_map(|log| &mut log.generations) {
                    generation.learn_known();
                }
                self.start(positions);
            }
            Step::Crash => {
                self.start(self.saved.clone());
                self.out = self.out_saved.clone();
                for generation in self.logs.iter_mut().flat_map(|log| &mut log.generations) {
                    generation.read = generation.read_saved;
                    generation.known = generation.known_saved;
                }
            }
        }
    }

    /// Makes room for a new rotated file.
    fn shift(&mut self, log: usize) {
        while self.logs[log].rotated.len() >= KEPT {
            let age = self.logs[log].rotated.len();
            fs::remove_file(self.path(log, age)).unwrap();
            self.logs[log].rotated.pop();
        }
        for age in (1..=self.logs[log].rotated.len()).rev() {
            fs::rename(self.path(log, age), self.path(log, age + 1)).unwrap();
        }
    }

    fn rotate(&mut self, log: usize) {
        let Some(present) = self.logs[log].present else {
            return;
        };
        self.shift(log);
        self.late.insert(log, (append_to(&self.path(log, 0)), 0));
        fs::rename(self.path(log, 0), self.path(log, 1)).unwrap();
        self.logs[log].present = None;
        self.logs[log].rotated.insert(0, present);
        self.logs[log].late = Some(present);
    }

    fn compress(&mut self, log: usize, kept: usize) {
        for age in kept + 1..=self.logs[log].rotated.len() {
            let plain = self.path(log, age);
            let compressed = format!("{}.gz", plain.display());
            fs::write(compressed, "\x1f\u{8b} or so").unwrap();
            fs::remove_file(plain).unwrap();
        }
        self.logs[log].rotated.truncate(kept);
    }

    fn retarget(&mut self) {
        let number = self.logs[LINK].generations.len();
        let target = self.dir.path().join(format!("targets/c-{number}"));
        if let Some(present) = self.logs[LINK].present.take() {
            self.late.insert(LINK, (append_to(&self.path(LINK, 0)), 0));
            self.logs[LINK].late = Some(present);
        }
        let file = File::create_new(&target).unwrap();
        self.stamp(&file);
        let new = self.dir.path().join("link.new");
        symlink(&target, &new).unwrap();
        fs::rename(new, self.path(LINK, 0)).unwrap();
        self.write(LINK, "");
    }

    fn copy_truncate(&mut self, log: usize, between: Between) {
        let Some(present) = self.logs[log].present else {
            return;
        };
        if self.logs[log].generations[present].seen_empty {
            return; // Nobody can know that there was something in between.
        }
        while between == Between::LineAndHastyRead
            && self.logs[log].generations[present].bytes.len() < HEAD_BYTES_MAX
        {
            let line = self.text() + "\n";
            self.write(log, &line);
        }
        self.shift(log);
        fs::copy(self.path(log, 0), self.path(log, 1)).unwrap();
        let copy = append_to(&self.path(log, 1));
        self.stamp(&copy);
        let copied = self.logs[log].generations[present].lines().len();
        if between != Between::Nothing {
            let line = self.text() + "\n";
            self.write(log, &line);
        }
        if matches!(between, Between::LineAndRead | Between::LineAndHastyRead) {
            self.read();
        }
        if between == Between::LineAndHastyRead {
            self.stamp(&copy);
        }
        self.logs[log].generations[present].copied = Some(copied);
        self.logs[log].rotated.insert(0, present);
        self.empty(log);
    }

    fn truncate(&mut self, log: usize) {
        if self.logs[log].present.is_some() {
            self.empty(log);
        }
    }

    /// The present file becomes another generation, in place: the reader still
    /// holds it, but the old content is in a copy or nowhere.
    fn empty(&mut self, log: usize) {
        let file = append_to(&self.path(log, 0));
        file.set_len(0).unwrap();
        self.stamp(&file);
        let generations = &mut self.logs[log].generations;
        let old = &mut generations[self.logs[log].present.unwrap()];
        (old.known, old.known_saved) = (false, false);
        let new = Generation {
            held: std::mem::take(&mut old.held),
            seen_empty: old.seen_empty,
            ..Generation::default()
        };
        generations.push(new);
        self.logs[log].present = Some(generations.len() - 1);
    }

    fn write_late(&mut self, log: usize) {
        let Some((mut file, _)) = self.late.remove(&log) else {
            return;
        };
        let text = self.text() + "\n";
        file.write_all(text.as_bytes()).unwrap();
        self.stamp(&file);
        self.late.insert(log, (file, 0));
        let late = self.logs[log].late.unwrap();
        self.logs[log].generations[late]
            .bytes
            .extend(text.as_bytes());
    }

    fn read(&mut self) {
        self.now += SWEEP;
        self.late.retain(|_, (_, quiet)| {
            *quiet += 1;
            SWEEP * *quiet < ROTATE_WAIT
        });
        let mut tail = self.tail.take().unwrap();
        while tail.read(self.now, &mut |block| {
            let text = String::from_utf8_lossy(block.bytes);
            self.out.extend(text.lines().map(str::to_owned));
        }) {}
        self.tail = Some(tail);
        for (number, log) in self.logs.iter_mut().enumerate() {
            let there: Vec<usize> = log.present.iter().chain(&log.rotated).copied().collect();
            for (place, generation) in log.generations.iter_mut().enumerate() {
                let lines = generation.lines();
                let unread = lines.get(generation.read);
                // Rotated files that nobody has seen are found when there is a log
                // again, or earlier.
                let is_found = there.contains(&place)
                    && (log.present.is_some()
                        || unread.is_some_and(|line| self.out.contains(line)));
                let is_known = number == LINK && generation.known;
                if generation.held || is_found || is_known {
                    let there = generation.copied.unwrap_or(lines.len());
                    generation.read = generation.read.max(there);
                    generation.held = true;
                    generation.seen_empty = generation.bytes.is_empty();
                    generation.seen = !generation.seen_empty;
                }
            }
        }
    }

    /// Came out what should have come out?
    fn check(&self) {
        let mut expected = Vec::new();
        for generation in self.logs.iter().flat_map(|log| &log.generations) {
            let lines = &generation.lines()[..generation.read];
            let mut out = self.out.iter();
            let in_order = lines.iter().all(|line| out.any(|came| came == line));
            assert!(in_order, "{lines:#?} are not in {:#?}", self.out);
            expected.extend_from_slice(lines);
        }
        let mut out = self.out.clone();
        out.sort();
        expected.sort();
        assert_eq!(out, expected, "more came out than there was");
    }
}

/// What a run did.
#[derive(Default)]
struct Done {
    steps: usize,
    lines: usize,
    /// Whole lines that no reader could have had.
    gone: usize,
}

fn play(program: &[Step], done: &mut Done) {
    let mut world = World::new();
    for step in program {
        world.run(*step);
        if matches!(step, Step::Read | Step::Pause) {
            world.check();
        }
    }
    world.run(Step::Read);
    world.check();
    let generations = || world.logs.iter().flat_map(|log| &log.generations);
    let lines: usize = generations().map(|one| one.lines().len()).sum();
    done.steps += program.len();
    done.lines += lines;
    done.gone += lines - world.out.len();
}

/// What random programs found once.
#[test]
fn a_deleted_files_inode_is_given_to_the_next() {
    let rotations = [Step::Rotate {
        log: 1,
        create: true,
    }; KEPT];
    let program = [
        &rotations[..],
        &[Step::Read, Step::Restart],
        &rotations,
        &[Step::Read, Step::Late { log: 1 }],
    ];
    play(&program.concat(), &mut Done::default());
}

#[test]
fn random_programs() {
    let steps: usize = std::env::var("RINGFENCE_MODEL_STEPS")
        .map_or(STEPS, |steps| steps.parse().expect("a number of steps"));
    let config = ProptestConfig {
        cases: u32::try_from(steps.div_ceil(PROGRAM_STEPS_MAX / 2)).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let done = RefCell::new(Done::default());
    proptest!(config, |(program in prop::collection::vec(step(), 1..=PROGRAM_STEPS_MAX))| {
        play(&program, &mut done.borrow_mut());
    });
    let Done { steps, lines, gone } = done.into_inner();
    println!(
        "model: {steps} steps, {lines} lines: 0 lost, 0 twice; \
         {gone} went before anybody could read them"
    );
}
