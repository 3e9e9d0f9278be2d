//! A real server on a real socket, asked by our client, by raw bytes, and by Python.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringfence::control::frame::{CLOSE, END, Frame, Frames};
use ringfence::control::pickle::{Limits, Value, decode, encode};
use ringfence::control::server::{CLIENTS_MAX, IDLE_TIMEOUT, MESSAGE_TIMEOUT, WRITE_TIMEOUT};
use ringfence::control::{
    BindError, Client, ClientError, ErrorClass, Listener, Reply, Request, bind, serve,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};

/// Verbs of ours, as the daemon might define them.
#[derive(Serialize, Deserialize)]
enum Verb {
    Double(i64),
    Refuse,
}

/// What the handler keeps between requests.
#[derive(Default)]
struct Desk {
    stop: RefCell<Option<oneshot::Sender<()>>>,
    released: Notify,
    waiting: Notify,
}

/// Answers the requests of these tests.
async fn answer(desk: Rc<Desk>, request: Request) -> Reply {
    if let Some(verb) = request.native::<Verb>() {
        return match verb {
            Ok(Verb::Double(number)) => Reply::native(&(number * 2)),
            Ok(Verb::Refuse) => Reply::error("refused"),
            Err(error) => Reply::error(error.to_string()),
        };
    }
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ping"] => Reply::Ok("pong".into()),
        ["echo", rest @ ..] => Reply::Ok(Value::from(rest.to_vec())),
        ["rest", ..] => Reply::Ok(Value::List(request.rest)),
        ["long", len] => Reply::Ok("x".repeat(len.parse().unwrap_or(0)).into()),
        ["bytes"] => Reply::Ok(Value::Bytes(END.to_vec())),
        ["jail", name] => Reply::Error {
            class: ErrorClass::UnknownJail,
            text: (*name).into(),
        },
        ["wait"] => {
            desk.waiting.notify_one();
            desk.released.notified().await;
            Reply::Ok("released".into())
        }
        // Returns when somebody waits.
        ["release"] => {
            desk.waiting.notified().await;
            desk.released.notify_one();
            Reply::Ok(Value::None)
        }
        ["stop"] => {
            if let Some(stop) = desk.stop.borrow_mut().take() {
                stop.send(()).ok();
            }
            Reply::Ok("stopping".into())
        }
        _ => Reply::Error {
            class: ErrorClass::ValueError,
            text: format!("no such verb: {}", words.join(" ")),
        },
    }
}

/// A server in a thread, until it is told to stop.
struct Server {
    folder: TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = bind(&folder.path().join("sock")).expect("a socket");
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(run(listener))
        });
        Server {
            folder,
            thread: Some(thread),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    fn client(&self) -> Client {
        Client::connect(&self.path()).expect("a connection")
    }

    fn raw(&self) -> UnixStream {
        UnixStream::connect(self.path()).expect("a connection")
    }
}

async fn run(listener: Listener) {
    let (sender, stopped) = oneshot::channel();
    let desk = Rc::new(Desk::default());
    desk.stop.replace(Some(sender));
    let stop = async move { stopped.await.unwrap_or_default() };
    serve(listener, move |request| answer(desk.clone(), request), stop)
        .await
        .expect("it serves");
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut client) = Client::connect(&self.path()) {
            client.call(&["stop"]).ok();
        }
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

fn message(words: &[&str]) -> Vec<u8> {
    [encode(&Value::from(words.to_vec())), END.to_vec()].concat()
}

/// The next `count` replies, printed.
fn replies(stream: &mut UnixStream, count: usize) -> Vec<String> {
    let mut frames = Frames::new(Limits::REPLY.bytes);
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while let Some(Frame::Message(bytes)) = frames.next_frame() {
            seen.push(decode(bytes, &Limits::REPLY).expect("a reply").to_string());
        }
        if seen.len() >= count {
            return seen;
        }
        let len = stream.read(&mut piece).expect("a reply");
        assert!(len > 0, "hung up after {seen:?}");
        frames.push(&piece[..len]);
    }
}

/// Is there nothing more to read, ever?
fn at_end(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
}

#[test]
fn our_client_asks() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.call(&["ping"]).unwrap(), "pong".into());
    let odd = ["", "é\n", "<F2B_END_COMMAND>", "-1"];
    let words = [&["echo"], odd.as_slice()].concat();
    assert_eq!(client.call(&words).unwrap(), Value::from(odd.to_vec()));
    match client.call(&["long", "20000000"]).unwrap() {
        Value::Str(text) => assert_eq!(text.len(), 20_000_000),
        other => panic!("{other}"),
    }
    let error = client.call(&["jail", "sshd"]).unwrap_err();
    assert_eq!(error.to_string(), "sshd");
    match error {
        ClientError::Refused { class, .. } => {
            assert_eq!(class, "fail2ban.exceptions.UnknownJailException");
        }
        other => panic!("{other}"),
    }
    // A reply that cannot be sent is an error, and no end of the conversation.
    let error = client.call(&["bytes"]).unwrap_err().to_string();
    assert!(error.contains("cannot be sent"), "{error}");
    assert_eq!(client.call(&["ping"]).unwrap(), "pong".into());
}

#[test]
fn verbs_of_ours() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.native::<_, i64>(&Verb::Double(21)).unwrap(), 42);
    let refused = client.native::<_, i64>(&Verb::Refuse).unwrap_err();
    assert_eq!(refused.to_string(), "refused");
    for words in [
        &["ringfence"][..],
        &["ringfence", "{}"],
        &["ringfence", "x"],
    ] {
        let error = client.call(words).unwrap_err();
        assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    }
    assert!(matches!(
        client.native::<_, String>(&Verb::Double(1)),
        Err(ClientError::Json(_))
    ));
    assert_eq!(client.native::<_, i64>(&Verb::Double(2)).unwrap(), 4);
}

#[test]
fn pipelined_and_in_pieces() {
    let server = Server::start();
    let asked = [
        message(&["ping"]),
        message(&["echo", "a"]),
        b"nonsense<F2B_END_COMMAND>".to_vec(),
        message(&["ping"]),
    ]
    .concat();
    let expected = [
        "(0, 'pong')",
        "(0, ['a'])",
        "ERROR: byte 0 of the pickle: opcode 0x6e is not plain data; send lists, texts and numbers",
        "(0, 'pong')",
    ];
    let mut stream = server.raw();
    stream.write_all(&asked).unwrap();
    assert_eq!(replies(&mut stream, 4), expected);
    for byte in asked {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(replies(&mut stream, 4), expected);
    stream.write_all(&[CLOSE, END].concat()).unwrap();
    assert!(at_end(&mut stream));
}

#[test]
fn what_is_no_request_is_answered() {
    let server = Server::start();
    let mut stream = server.raw();
    for (pickle, expected) in [
        (
            b"".to_vec(),
            "ERROR: byte 0 of the pickle: it ends too early",
        ),
        (encode(&"ping".into()), "(1, Exception('Invalid command'))"),
        (
            encode(&Value::List(vec![])),
            "(1, Exception('Invalid command'))",
        ),
        (
            encode(&Value::List(vec![Value::List(vec![])])),
            "(1, Exception('Invalid command'))",
        ),
        (
            b"cos\nsystem\n(S'true'\ntR.".to_vec(),
            "ERROR: byte 0 of the pickle: opcode 0x63 is not plain data; send lists, texts and numbers",
        ),
        (
            b"]".repeat(100_000),
            "ERROR: byte 100000 of the pickle: it ends too early",
        ),
        (
            vec![b'x'; 5 << 20],
            "ERROR: the request is longer than 1048576 bytes",
        ),
        (
            encode(&Value::Tuple(vec![
                "echo".into(),
                Value::Int(600),
                Value::Float(1.5),
                Value::Bool(true),
                Value::None,
                Value::Bytes(b"sshd".to_vec()),
            ])),
            "(0, ['600', '1.5', 'True', 'None', 'sshd'])",
        ),
        (
            encode(&Value::List(vec![
                "rest".into(),
                Value::from(vec!["--unban"]),
                "x".into(),
            ])),
            "(0, [['--unban'], 'x'])",
        ),
    ] {
        stream
            .write_all(&[pickle.as_slice(), END].concat())
            .unwrap();
        assert_eq!(replies(&mut stream, 1), [expected]);
    }
}

#[test]
fn clients_do_not_wait_for_each_other() {
    let server = Server::start();
    let mut slow = server.raw();
    slow.write_all(&message(&["wait"])).unwrap();
    let mut half = server.raw();
    half.write_all(b"\x80").unwrap();
    let mut deaf = server.raw();
    for _ in 0..10 {
        deaf.write_all(&message(&["long", "1000000"])).unwrap();
    }
    let mut client = server.client();
    assert_eq!(client.call(&["ping"]).unwrap(), "pong".into());
    assert_eq!(client.call(&["release"]).unwrap(), Value::None);
    assert_eq!(replies(&mut slow, 1), ["(0, 'released')"]);
}

#[test]
fn a_hundred_clients() {
    let server = Server::start();
    let path = server.path();
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let path = path.clone();
            thread::spawn(move || {
                let mut client = Client::connect(&path).expect("a connection");
                for round in 0..20 {
                    let word = format!("{number}/{round}");
                    let reply = client.call(&["echo", &word]).expect("a reply");
                    assert_eq!(reply, Value::from(vec![word]));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all went well");
    }
}

#[test]
fn when_all_seats_are_taken_the_longest_silent_goes() {
    let server = Server::start();
    let mut seated: Vec<Client> = (0..CLIENTS_MAX)
        .map(|_| {
            let mut client = server.client();
            client.call(&["ping"]).expect("a reply");
            client
        })
        .collect();
    // The first speaks again, so the second is now the one silent longest.
    seated[0].call(&["ping"]).expect("a reply");
    let mut newcomer = server.client();
    assert_eq!(newcomer.call(&["ping"]).unwrap(), "pong".into());
    assert!(matches!(
        seated[1].call(&["ping"]),
        Err(ClientError::HungUp { .. })
    ));
    seated.remove(1);
    for client in &mut seated {
        assert_eq!(client.call(&["ping"]).unwrap(), "pong".into());
    }
}

#[test]
fn stopping_answers_first_and_leaves_nothing_behind() {
    let server = Server::start();
    let mut idle = server.raw();
    idle.write_all(&message(&["ping"])).unwrap();
    replies(&mut idle, 1);
    let mut client = server.client();
    assert_eq!(client.call(&["stop"]).unwrap(), "stopping".into());
    assert!(at_end(&mut idle));
    let error = Client::connect(&server.path()).unwrap_err();
    assert!(error.to_string().contains("not running (no socket at "));
}

#[test]
fn the_way_to_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    // Nobody there.
    let error = Client::connect(&path).unwrap_err().to_string();
    assert!(error.contains("not running (no socket at "), "{error}");
    // No folder.
    let deep = folder.path().join("none/sock");
    let error = bind(&deep).unwrap_err();
    assert!(matches!(error, BindError::NoFolder { .. }), "{error}");
    // A plain file.
    fs::write(&path, "precious").unwrap();
    let error = bind(&path).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    // A socket that a crash left behind.
    drop(UnixListener::bind(&path).unwrap());
    let error = Client::connect(&path).unwrap_err().to_string();
    assert!(error.contains("not running (nobody answers at "), "{error}");
    let listener = bind(&path).expect("the stale one is replaced");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A live one.
    let error = bind(&path).unwrap_err();
    assert!(matches!(error, BindError::Running { .. }), "{error}");
    drop(listener);
    assert!(!path.exists());
    // A successor's socket stays when the predecessor goes.
    let first = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    // A name that does not fit.
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(bind(&long), Err(BindError::Io { .. })));
    assert!(matches!(
        Client::connect(&long),
        Err(ClientError::Io { .. })
    ));
}

#[test]
fn a_server_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let mute = UnixListener::bind(&path).unwrap();
    let mut client = Client::connect_patient(&path, Duration::from_millis(1)).unwrap();
    let error = client.call(&["ping"]).unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    // A late answer must not be taken for the next one.
    let error = client.call(&["ping"]).unwrap_err();
    assert!(matches!(error, ClientError::HungUp { .. }), "{error}");
    // Nobody accepts: when the queue is full, it is said at once.
    let waiting: Vec<_> = (0..5000)
        .map(|_| Client::connect(&path))
        .take_while(Result::is_ok)
        .collect();
    if waiting.len() < 5000 {
        let error = Client::connect(&path).unwrap_err();
        assert!(matches!(error, ClientError::Busy { .. }), "{error}");
        assert!(matches!(bind(&path), Err(BindError::Running { .. })));
    }
    drop(mute);
}

/// Runs `test` against a server in one runtime whose clock jumps when all wait.
fn with_jumping_clock<F: Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sock");
    let listener = bind(&path).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async {
            let test = test(path);
            tokio::pin!(test);
            tokio::select! {
                () = run(listener) => test.await,
                () = &mut test => {}
            }
        });
}

/// Reads to the end, however it ends.
async fn read_all(stream: &mut tokio::net::UnixStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.ok();
    all
}

async fn connect(path: &Path, sent: &[u8]) -> tokio::net::UnixStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

#[test]
fn who_does_not_read_is_dropped() {
    with_jumping_clock(|path| async move {
        let mut deaf = connect(&path, &message(&["long", "10000000"])).await;
        tokio::time::sleep(2 * WRITE_TIMEOUT).await;
        let got = read_all(&mut deaf).await.len();
        assert!(0 < got && got < 10_000_000, "{got}");
    });
}

#[test]
fn who_does_not_finish_is_dropped() {
    with_jumping_clock(|path| async move {
        let mut half = connect(&path, b"\x80").await;
        assert_eq!(read_all(&mut half).await, b"");
        // One that sends a byte now and then does not get round it.
        let start = tokio::time::Instant::now();
        let mut slow = connect(&path, b"\x80").await;
        use tokio::io::AsyncWriteExt;
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(start.elapsed() < 2 * MESSAGE_TIMEOUT);
        // Nor one that never stops.
        let mut endless = connect(&path, b"x").await;
        tokio::task::yield_now().await;
        while endless.write_all(&[b'x'; 100_000]).await.is_ok() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(start.elapsed() < 4 * MESSAGE_TIMEOUT);
    });
}

#[test]
fn who_is_silent_may_stay_for_long() {
    with_jumping_clock(|path| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut silent = connect(&path, b"").await;
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        silent.write_all(&message(&["ping"])).await.unwrap();
        let mut reply = [0; 10];
        silent.read_exact(&mut reply).await.unwrap();
        tokio::time::sleep(2 * IDLE_TIMEOUT).await;
        assert!(read_all(&mut silent).await.ends_with(END));
    });
}

#[test]
fn stopping_does_not_wait_for_ever() {
    with_jumping_clock(|path| async move {
        let mut endless = connect(&path, &message(&["wait"])).await;
        let mut stopping = connect(&path, &message(&["stop"])).await;
        assert!(read_all(&mut stopping).await.ends_with(END));
        assert_eq!(read_all(&mut endless).await, b"");
    });
}

/// What genuine clients do: any protocol, replies loaded with classes resolved.
const PYTHON_CLIENT: &str = r#"
import pickle, socket, sys, types
class UnknownJailException(Exception): pass
module = types.ModuleType("fail2ban.exceptions")
module.UnknownJailException = UnknownJailException
sys.modules["fail2ban"] = types.ModuleType("fail2ban")
sys.modules["fail2ban.exceptions"] = module
END = b"<F2B_END_COMMAND>"
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
buffer = b""
def ask(command, protocol):
    global buffer
    s.sendall(pickle.dumps(command, protocol) + END)
    while END not in buffer:
        buffer += s.recv(4096)
    reply, buffer = buffer.split(END, 1)
    return pickle.loads(reply)
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    print(ask(["ping"], protocol), ask(["echo", "é", 600, True], protocol))
print(repr(ask(["jail", "x"], 5)), repr(ask(["what"], 5)))
print(ask(["rest", [["set", "x"], {"a": {1}}], "b"], 5))
s.sendall(b"<F2B_CLOSE_COMMAND>" + END)
print(s.recv(1))
"#;

#[test]
fn python_asks() {
    let server = Server::start();
    let output = Command::new("python3")
        .args(["-c", PYTHON_CLIENT])
        .arg(server.path())
        .env("PYTHONUTF8", "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("this test needs python3 on the PATH");
    assert!(output.status.success());
    let each = "(0, 'pong') (0, ['é', '600', 'True'])\n".repeat(6);
    let rest = "(1, UnknownJailException('x')) (1, ValueError('no such verb: what'))
(0, [[['set', 'x'], {'a': {1}}], 'b'])
b''
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), each + rest);
}
