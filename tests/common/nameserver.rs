//! A name server on loopback, for a namespace of its own: it answers what a table says.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::{A, Aaaa, Srv};

use crate::namespace::run;

/// What it knows: rows such as `trunk.example.net A 192.0.2.7`; while there is no table,
/// it leaves everybody waiting.
#[derive(Clone)]
pub(crate) struct NameServer(Arc<(Mutex<Option<String>>, Condvar)>);

impl NameServer {
    /// Starts it, and has this namespace ask nobody else.
    pub(crate) fn start(folder: &Path) -> NameServer {
        let file = folder.join("resolv.conf");
        fs::write(&file, "nameserver 127.0.0.1\n").unwrap();
        run(&format!("mount --bind {} /etc/resolv.conf", file.display()));
        let server = NameServer(Arc::default());
        let socket = UdpSocket::bind("127.0.0.1:53").expect("port 53 of the namespace");
        let serving = server.clone();
        thread::spawn(move || {
            let mut question = [0; 1_500];
            while let Ok((bytes, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = serving.answer(&question[..bytes]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        server
    }

    /// It knows this from now on.
    pub(crate) fn set(&self, table: &str) {
        *self.0.0.lock().unwrap() = Some(table.to_owned());
        self.0.1.notify_all();
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let table = self.0.0.lock().unwrap();
        let table = self.0.1.wait_while(table, |table| table.is_none()).unwrap();
        let message = Message::from_octets(question).ok()?;
        let asked = message.sole_question().ok()?;
        let mut answer = MessageBuilder::new_vec()
            .start_answer(&message, Rcode::NOERROR)
            .ok()?;
        for row in table.as_deref().unwrap_or_default().lines() {
            let words: Vec<&str> = row.split_whitespace().collect();
            let name: Name<Vec<u8>> = words[0].parse().unwrap();
            if name != *asked.qname() || words[1] != asked.qtype().to_string() {
                continue;
            }
            let (class, ttl) = (Class::IN, Ttl::from_secs(60));
            match words[1] {
                "A" => answer.push((name, class, ttl, words[2].parse::<A>().unwrap())),
                "AAAA" => answer.push((name, class, ttl, words[2].parse::<Aaaa>().unwrap())),
                _ => {
                    let target: Name<Vec<u8>> = words[2].parse().unwrap();
                    answer.push((name, class, ttl, Srv::new(1, 1, 5060, target)))
                }
            }
            .unwrap();
        }
        Some(answer.finish())
    }
}
