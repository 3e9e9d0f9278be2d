//! Patterns that make a backtracker run for ever, and the lines that do it: ten from
//! the books, and the shapes of fail2ban's own advisory. For `tests/bench/redos.rs`,
//! which measures them, and `tests/redos.rs`, which says what must come of them.

/// The lengths of attack lines; the last is the longest that the daemon reads.
pub(crate) const LENGTHS: [usize; 4] = [64, 1024, 16 * 1024, ringfence::watch::LINE_BYTES_MAX];

/// A pattern and the lines that attack it.
pub(crate) struct Attack {
    /// Where it is known from.
    pub(crate) name: &'static str,
    /// A failregex.
    pub(crate) regex: &'static str,
    /// Lines begin so,
    pub(crate) head: &'static str,
    /// go on with this, again and again,
    pub(crate) pump: &'static str,
    /// and end so.
    pub(crate) tail: &'static str,
}

impl Attack {
    /// The line of about `length` bytes, at most so many.
    pub(crate) fn line(&self, length: usize) -> String {
        let room = length.saturating_sub(self.head.len() + self.tail.len());
        let pumped = self.pump.repeat(room / self.pump.len());
        format!("{}{pumped}{}", self.head, self.tail)
    }
}

/// Each pattern names the host behind what is attacked, as failregexes do.
pub(crate) static ATTACKS: [Attack; 17] = [
    Attack {
        name: "nested plus",
        regex: "^x (a+)+ <HOST>$",
        head: "x ",
        pump: "a",
        tail: "! 192.0.2.1",
    },
    Attack {
        name: "a or aa",
        regex: "^x (a|aa)+ <HOST>$",
        head: "x ",
        pump: "a",
        tail: "! 192.0.2.1",
    },
    Attack {
        name: "a or nothing",
        regex: "^x (a|a?)+ <HOST>$",
        head: "x ",
        pump: "a",
        tail: "! 192.0.2.1",
    },
    Attack {
        name: "twenty of anything",
        regex: "(.*a){20} from <HOST>$",
        head: "",
        pump: "a",
        tail: "! from 192.0.2.1",
    },
    Attack {
        name: "letters, starred twice",
        regex: "^(([a-zA-Z]+)*) from <HOST>$",
        head: "",
        pump: "aB",
        tail: "1 from 192.0.2.1",
    },
    Attack {
        name: "name of a class (OWASP)",
        regex: "^(([a-z])+.)+[A-Z]([a-z])+ <HOST>$",
        head: "",
        pump: "a",
        tail: " 192.0.2.1",
    },
    Attack {
        name: "mail address (OWASP)",
        regex: "^([a-zA-Z0-9])(([-.]|[_]+)?([a-zA-Z0-9]+))*@[a-z0-9]+[.][a-z]{2,3} <HOST>$",
        head: "",
        pump: "a",
        tail: "! 192.0.2.1",
    },
    Attack {
        name: "blanks at the end",
        regex: r"from <HOST>.*\s+\s+$",
        head: "from 192.0.2.1",
        pump: " ",
        tail: "x",
    },
    Attack {
        name: "anything, twice, and =",
        regex: r#"(?:"|'|\d|true|-|\+)+[)]*;?((?:\s|-|~|!|\|\||\+)*.*(?:.*=.*)) <HOST>$"#,
        head: "1",
        pump: "-x",
        tail: " 192.0.2.1",
    },
    Attack {
        name: "dots and stars",
        regex: r"^.*.*.*.*from <HOST>=.*;$",
        head: "",
        pump: "from 192.0.2.1=",
        tail: "",
    },
    Attack {
        name: "words, and one again",
        regex: r"^(?:(\w+)\s?)*=\1 from <HOST>$",
        head: "",
        pump: "a",
        tail: "=b from 192.0.2.1",
    },
    Attack {
        name: "stars around a back-reference",
        regex: r"((a*)*)\2+b from <HOST>$",
        head: "",
        pump: "a",
        tail: "xb from 192.0.2.1",
    },
    Attack {
        name: "look-ahead in a loop",
        regex: r"^(?:(?!b)(?:\w|a|\w\w))+(?<!a) from <HOST>$",
        head: "",
        pump: "a",
        tail: " from 192.0.2.1",
    },
    Attack {
        name: "look-ahead at each place",
        regex: r"(?=(?:a+)+c)a+ from <HOST>$",
        head: "",
        pump: "a",
        tail: " from 192.0.2.1",
    },
    Attack {
        name: "words beyond ASCII",
        regex: r"\b(?:\w+\b\W?)+ from <HOST>$",
        head: "",
        pump: "é ",
        tail: "½! from 192.0.2.1x",
    },
    // GHSA-33wh-ccjc-p397: pieces that end in a blank and may hold blanks, in a loop.
    Attack {
        name: "the advisory, pieces",
        regex: r"^smtp: (?:[^<]+ )*\[?<HOST>\]? failure\s*$",
        head: "smtp: ",
        pump: "a ",
        tail: "x 192.0.2.1 failures",
    },
    // The same advisory: a reason of any length, in a loop of reasons.
    Attack {
        name: "the advisory, reasons",
        regex: r"^Disconnected(?:: (?:\w+\([^):]*\) \w+|[^(]+))* \(failed\): rip=<HOST>$",
        head: "Disconnected",
        pump: ": a",
        tail: " (failed): rip=192.0.2.1!",
    },
];
