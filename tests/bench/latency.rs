//! How long after the write() of the convicting line the kernel drops the attacker.
//!
//! `cargo bench --bench latency`: 200 attackers, one after the other, for the real
//! `ringfence run`, and 20 for fail2ban 1.0.2 where it is installed, both in the
//! same network namespace, with the same lines, on the same machine. A trial starts
//! at the write of the line that makes an address reach `maxretry`, while the
//! daemon sleeps, and ends when the kernel says that its set holds the address.
//! The kernel is asked over netlink in a tight loop, some 2 µs a question; what
//! that costs the daemon is part of the figure.
//!
//! Needs no root where unprivileged user namespaces are allowed.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfence::action::ipset::Ipset;
use ringfence::addr::Addr;

/// The promise.
const P50_MAX: Duration = Duration::from_millis(1);
/// The promise for one trial in a hundred.
const P99_MAX: Duration = Duration::from_millis(10);

const TRIALS: usize = 200;
/// fail2ban sleeps up to a second between two looks at its tickets; twenty tell enough.
const FAIL2BAN_TRIALS: usize = 20;

const MAXRETRY: usize = 5;
/// Longer than either daemon needs for anything; no figure rests on it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two trials, so that each finds the daemon asleep, as an attack does.
const REST: Duration = Duration::from_millis(20);
/// Says that we are in the namespaces already.
const INSIDE: &str = "RINGFENCE_BENCH_INSIDE";

fn main() -> Result<ExitCode> {
    // `cargo test --all-targets` runs benchmarks with --test, to see that they start.
    if env::args().any(|argument| argument == "--test") {
        return Ok(ExitCode::SUCCESS);
    }
    if env::var_os(INSIDE).is_none() {
        return Err(enter().into());
    }
    let ours = Ringfence::start()?.measure("ringfence", TRIALS)?;
    ours.print();
    let theirs = match Fail2ban::start() {
        Ok(fail2ban) => Some(fail2ban.measure("fail2ban", FAIL2BAN_TRIALS)?),
        Err(error) => {
            println!("fail2ban   not measured: {error:#}");
            None
        }
    };
    if let Some(theirs) = theirs {
        theirs.print();
        let ratio = theirs.percentile(50).as_secs_f64() / ours.percentile(50).as_secs_f64();
        println!("ratio      {ratio:.0} at p50");
    }
    let kept = ours.percentile(50) < P50_MAX && ours.percentile(99) < P99_MAX;
    println!(
        "promise    p50 under {P50_MAX:?}, p99 under {P99_MAX:?}: {}",
        if kept { "kept" } else { "NOT KEPT" }
    );
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs this program again with a network, mounts and processes of its own, so
/// that no rule of ours reaches the machine and nothing outlives us.
fn enter() -> std::io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    Command::new("unshare")
        .args([
            "--map-root-user",
            "--user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
        ])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(program)
        .env(INSIDE, "1")
        .exec()
}

/// One daemon that follows one log and fills one kernel set.
trait Daemon: Sized {
    /// The log that it follows.
    fn log(&self) -> &Path;

    /// The kernel set that its bans go into.
    fn set(&self) -> &str;

    /// Convicts `trials` addresses one by one and measures each.
    fn measure(self, name: &'static str, trials: usize) -> Result<Figures> {
        let mut log = File::options().append(true).open(self.log())?;
        let mut kernel = Ipset::open()?;
        let addresses: Vec<Addr> = (0..trials).map(attacker).collect();
        for address in &addresses {
            write_tries(&mut log, address, MAXRETRY - 1)?;
        }
        // When this one, written last, is banned, all lines before it have been read.
        let sentinel = attacker(trials);
        write_tries(&mut log, &sentinel, MAXRETRY)?;
        wait_for(&mut kernel, self.set(), &sentinel)?;
        for address in &addresses {
            ensure!(
                !kernel.test(self.set(), address)?,
                "{address} was banned too early"
            );
        }
        let mut times = Vec::with_capacity(trials);
        for address in &addresses {
            thread::sleep(REST);
            let line = try_line(address);
            let start = Instant::now();
            log.write_all(line.as_bytes())?;
            wait_for(&mut kernel, self.set(), address)?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(Figures { name, times })
    }
}

/// Asks the kernel in a tight loop until `set` holds `address`.
fn wait_for(kernel: &mut Ipset, set: &str, address: &Addr) -> Result<()> {
    let start = Instant::now();
    while !kernel
        .test(set, address)
        .with_context(|| format!("asking for {address} in {set}"))?
    {
        ensure!(
            start.elapsed() < PATIENCE,
            "{address} was not banned in {PATIENCE:?}"
        );
    }
    Ok(())
}

/// The attackers' addresses: one network of the documentation's, from the first host on.
fn attacker(number: usize) -> Addr {
    let host = u8::try_from(number + 1).expect("fewer trials than a /24 has hosts");
    Addr::host(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)))
}

/// What rsyslogd writes for a failed login that Kamailio reports.
fn try_line(address: &Addr) -> String {
    let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
    format!(
        "{now} sip1 /usr/sbin/kamailio[91]: NOTICE: {{1 2 REGISTER bench}} <script>: \
         Auth error for 1001@192.0.2.10 from {address} cause -2\n"
    )
}

fn write_tries(log: &mut File, address: &Addr, times: usize) -> Result<()> {
    Ok(log.write_all(try_line(address).repeat(times).as_bytes())?)
}

/// What was measured, shortest first.
struct Figures {
    name: &'static str,
    times: Vec<Duration>,
}

impl Figures {
    /// The time that `percent` of the trials did not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1) - 1;
        self.times.get(rank).copied().unwrap_or_default()
    }

    fn print(&self) {
        println!(
            "{:<10} {} trials: p50 {:?}, p90 {:?}, p99 {:?}, worst {:?}",
            self.name,
            self.times.len(),
            self.percentile(50),
            self.percentile(90),
            self.percentile(99),
            self.percentile(100),
        );
    }
}

/// A child process that is ended when we are done with it, whatever happened.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        if self.0.kill().is_ok() {
            let _status = self.0.wait();
        }
    }
}

/// The daemon that is measured, in a folder of its own.
struct Ringfence {
    log: PathBuf,
    _running: Running,
    _folder: tempfile::TempDir,
}

impl Ringfence {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path();
        let log = root.join("kamailio.log");
        File::create(&log)?;
        fs::create_dir(root.join("jail.d"))?;
        fs::write(
            root.join("ringfence.toml"),
            format!(
                "state_dir = {:?}\nsocket = {:?}\n",
                root.join("state"),
                root.join("sock")
            ),
        )?;
        fs::write(
            root.join("jail.d/bench.conf"),
            format!(
                "[kamailio]\nenabled = true\nlogpath = {}\nmaxretry = {MAXRETRY}\nfindtime = 600\nbantime = 3600\n",
                log.display()
            ),
        )?;
        let notify = root.join("notify");
        let ready = UnixDatagram::bind(&notify)?;
        let said = File::create(root.join("said"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .arg("run")
            .arg("--config-dir")
            .arg(root)
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        let running = Running(child);
        wait_ready(&ready).with_context(|| {
            format!(
                "ringfence said: {}",
                fs::read_to_string(root.join("said")).unwrap_or_default()
            )
        })?;
        Ok(Ringfence {
            log,
            _running: running,
            _folder: folder,
        })
    }
}

/// Waits for systemd's word for "ready".
fn wait_ready(socket: &UnixDatagram) -> Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut message = [0; 4096];
    loop {
        let length = socket
            .recv(&mut message)
            .context("it never said that it is ready")?;
        let words = message.get(..length).unwrap_or_default();
        if words
            .split(|byte| *byte == b'\n')
            .any(|word| word == b"READY=1")
        {
            return Ok(());
        }
    }
}

impl Daemon for Ringfence {
    fn log(&self) -> &Path {
        &self.log
    }

    fn set(&self) -> &str {
        "ringfence-kamailio"
    }
}

/// Debian's fail2ban with the same lines, a filter as simple as can be, and the
/// quickest action: one program that puts one address into one set.
struct Fail2ban {
    log: PathBuf,
    _running: Running,
    _folder: tempfile::TempDir,
}

impl Fail2ban {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path();
        let log = root.join("kamailio.log");
        File::create(&log)?;
        for (name, text) in Self::files(root, &log) {
            let path = root.join(name);
            fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            fs::write(path, text)?;
        }
        let said = root.join("said");
        let child = Command::new("fail2ban-server")
            .arg("-c")
            .arg(root)
            .args(["-f", "start"])
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::create(root.join("complaints"))?)
            .spawn()
            .context("fail2ban-server is not installed (tests/install)")?;
        let running = Running(child);
        let start = Instant::now();
        // It says so before its action has made the set.
        let mut kernel = Ipset::open()?;
        while !fs::read_to_string(&said)?.contains("Jail 'bench' started")
            || kernel.header("f2b-bench")?.is_none()
        {
            if start.elapsed() > PATIENCE {
                bail!("it does not start: {}", fs::read_to_string(&said)?);
            }
            thread::sleep(REST);
        }
        Ok(Fail2ban {
            log,
            _running: running,
            _folder: folder,
        })
    }

    fn files(root: &Path, log: &Path) -> [(&'static str, String); 4] {
        let (root, log) = (root.display(), log.display());
        [
            (
                "fail2ban.conf",
                format!(
                    "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\n\
                     allowipv6 = auto\nsocket = {root}/sock\npidfile = {root}/pid\ndbfile = {root}/db\ndbpurgeage = 1d\n"
                ),
            ),
            (
                "jail.conf",
                format!(
                    "[bench]\nenabled = true\nbackend = pyinotify\nfilter = bench\naction = bench\nlogpath = {log}\n\
                     maxretry = {MAXRETRY}\nfindtime = 600\nbantime = 3600\nusedns = no\n"
                ),
            ),
            (
                "filter.d/bench.conf",
                "[Definition]\nfailregex = Auth error for \\S+ from <ADDR> cause -[23]$\n".to_owned(),
            ),
            (
                "action.d/bench.conf",
                "[Definition]\nactionstart = ipset create f2b-bench hash:ip timeout 3600\nactionstop =\n\
                 actionban = ipset add f2b-bench <ip> -exist\nactionunban =\n\
                 norestored = 1\nactionstart_on_demand = false\n"
                    .to_owned(),
            ),
        ]
    }
}

impl Daemon for Fail2ban {
    fn log(&self) -> &Path {
        &self.log
    }

    fn set(&self) -> &str {
        "f2b-bench"
    }
}
