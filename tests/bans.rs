//! `ringfence bans`, asked of the real program with several pages of bans.

#[path = "common/lab.rs"]
mod lab;
#[path = "common/namespace.rs"]
mod namespace;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use lab::Lab;
use ringfence::control::Client;
use ringfence::daemon::bans::PAGE_BANS;
use ringfence::daemon::verbs::{BanShown, BansPage, Place, Verb};
use serde_json::Value;

/// Bans of the test: more than two pages.
const BANS: usize = 2 * PAGE_BANS + 500;

fn address(number: usize) -> String {
    format!("10.7.{}.{}", number / 250, number % 250)
}

fn ban(client: &mut Client, addr: &str, jail: Option<&str>, secs: Option<u64>) {
    let verb = Verb::Ban {
        addr: addr.to_owned(),
        jail: jail.map(str::to_owned),
        secs,
    };
    let _shown: BanShown = client.native(&verb).unwrap();
}

fn page(client: &mut Client, after: Option<Place>) -> BansPage {
    client.native(&Verb::Bans { jail: None, after }).unwrap()
}

namespaced! {
    fn a_long_list_is_whole_and_ends_when_its_reader_does() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        assert_eq!(lab.says(0, &["bans"]), "nobody is banned\n");
        assert_eq!(lab.says(0, &["bans", "--json"]), "");
        let text = lab.says(1, &["bans", "--jail", "sshd"]);
        assert!(text.contains("there is no jail `sshd`; there are: kamailio"), "{text}");

        let mut client = Client::connect(&lab.path("socket")).unwrap();
        for number in 0..BANS {
            ban(&mut client, &address(number), None, Some(86_400));
        }
        ban(&mut client, "2001:db8::/32", None, None);
        lab.fail("192.0.2.7", 3);
        lab.wait_for_ban("192.0.2.7");

        let text = lab.says(0, &["bans"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), BANS + 2);
        assert!(lines[0].starts_with("192.0.2.7 ") && lines[0].contains(" kamailio since 20"), "{}", lines[0]);
        assert!(lines[0].contains(", until 20") && lines[0].ends_with(": 3 failed tries"), "{}", lines[0]);
        for (number, line) in lines[1..=BANS].iter().enumerate() {
            let addr = line.split(' ').next().unwrap();
            assert_eq!(addr, address(number), "in the order of addresses");
        }
        assert!(lines[BANS + 1].starts_with("2001:db8::/32 ") && lines[BANS + 1].contains(", for ever: an operator"), "{text}");

        let text = lab.says(0, &["bans", "--jail", "kamailio", "--json"]);
        let shown: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((&shown["addr"], &shown["jail"]), (&"192.0.2.7".into(), &"kamailio".into()));
        assert_eq!((&shown["reason"], &shown["tries"]), (&"maxretry".into(), &3.into()));
        assert_eq!(shown["until"].as_i64().unwrap() - shown["since"].as_i64().unwrap(), 3_600);
        let text = lab.says(0, &["bans", "--json"]);
        assert_eq!(text.lines().map(serde_json::from_str::<BanShown>).filter(Result::is_ok).count(), BANS + 2);

        // The list is longer than a pipe, so the writer finds it closed.
        let mut listing = lab.ringfence(&["bans"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, listing.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = listing.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }

    fn a_ban_that_stays_is_listed_once_whatever_comes_and_goes() {
        let mut lab = Lab::new("", "maxretry = 3");
        lab.start();
        let mut client = Client::connect(&lab.path("socket")).unwrap();
        for number in 0..PAGE_BANS + 100 {
            ban(&mut client, &address(number), None, Some(86_400));
        }
        let first = page(&mut client, None);
        assert_eq!(first.bans.len(), PAGE_BANS);
        let lifted = [0, 7, PAGE_BANS - 1, PAGE_BANS + 5]; // the last of the page, too
        for number in lifted {
            let _pardon: Value = client.native(&Verb::Unban { addr: address(number) }).unwrap();
        }
        for before in ["10.0.0.1", "10.0.0.2"] {
            ban(&mut client, before, None, None);
        }
        ban(&mut client, "192.0.2.7", Some("kamailio"), None); // a jail that stands before
        ban(&mut client, "10.99.0.1", None, None);
        let second = page(&mut client, first.next);
        assert_eq!(second.next, None);
        let mut expected: Vec<String> = (PAGE_BANS..PAGE_BANS + 100)
            .filter(|number| !lifted.contains(number))
            .map(address)
            .collect();
        expected.push("10.99.0.1".to_owned());
        let found: Vec<&str> = second.bans.iter().map(|ban| ban.addr.as_str()).collect();
        assert_eq!(found, expected);

        let place = Place { jail: "kamailio".to_owned(), addr: "nowhere".to_owned() };
        let error = client.native::<_, BansPage>(&Verb::Bans { jail: None, after: Some(place) }).unwrap_err();
        assert!(error.to_string().contains("`nowhere` is not an address"), "{error}");
    }
}
