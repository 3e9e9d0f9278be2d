//! What an answer of APIBAN means, decided from its status and its text together.
//!
//! The service says "finished", "not listed", "bad key" and "too many requests"
//! with changing status codes, and the words in the text have changed too. So the
//! decision goes in a fixed order: first refusals, then the words for "nothing",
//! then addresses. What fits nothing is *no answer*; it never means "finished",
//! "not listed" or "the list is empty".
//!
//! Pure: bytes in, a value out. Nothing here panics, whatever the bytes are.

mod body;

use std::net::IpAddr;
use std::time::Duration;

use super::cursor::CursorId;
use super::trouble::Trouble;
use crate::time::Time;
use body::{Body, Id};

/// A page with more entries is refused: the service's own pages have 250.
pub const PAGE_ENTRIES_MAX: usize = 5_000;
/// What the service may ask us to wait after "too many requests".
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(900);

/// An HTTP answer whose body arrived completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The status code.
    pub status: u16,
    /// The `Retry-After` header, if there is one.
    pub retry_after: Option<String>,
    /// Is it sure that the body is complete? Not if it merely ended with the connection.
    pub whole: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// What an answer to "give me the list from here" means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListAnswer {
    /// A page of the list.
    Page {
        /// The entries, as written; at most [`PAGE_ENTRIES_MAX`].
        addresses: Vec<String>,
        /// Where to go on.
        cursor: CursorId,
        /// How many entries were not even text.
        skipped: u64,
    },
    /// There is nothing after the cursor.
    Finished,
    /// The key is refused.
    Unauthorized,
    /// Too many requests; the wait that was asked for, zero if none was.
    RateLimited(Duration),
    /// None of these.
    Broken(Trouble),
}

/// What an answer to "is this address listed" means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// It is.
    Listed,
    /// It is not, now.
    NotListed,
    /// The service does not take it for an address.
    NotAnAddress,
    /// The key is refused.
    Unauthorized,
    /// Too many requests; the wait that was asked for, zero if none was.
    RateLimited(Duration),
    /// None of these.
    NoAnswer(Trouble),
}

/// Reads an answer to a request for a page. `now` is for a `Retry-After` that is a date.
pub fn list(content: &Content, now: Time) -> ListAnswer {
    let body = match Body::read(content) {
        Ok(body) => body,
        Err(trouble) => return ListAnswer::Broken(trouble),
    };
    match refusal(content, &body, now) {
        Some(Refusal::Unauthorized) => return ListAnswer::Unauthorized,
        Some(Refusal::RateLimited(wait)) => return ListAnswer::RateLimited(wait),
        None => {}
    }
    if matches!(content.status, 200..=299 | 400 | 404 | 408) {
        let nothing_new = body.says("no new bans");
        if nothing_new || (body.id.is("none") && (body.is_silent() || body.says("none"))) {
            return ListAnswer::Finished;
        }
    }
    page(content, body).unwrap_or_else(ListAnswer::Broken)
}

fn page(content: &Content, body: Body) -> Result<ListAnswer, Trouble> {
    if !content.is_success() {
        return Err(Trouble::Status(content.status));
    }
    if !content.whole {
        return Err(Trouble::Truncated);
    }
    if body.overflow {
        return Err(Trouble::Malformed("more entries than a page may have"));
    }
    if body.entries.is_empty() {
        return Err(Trouble::Malformed("a page without an address"));
    }
    let cursor = match &body.id {
        Id::Text(text) => CursorId::parse(text),
        Id::Missing | Id::Odd => None,
    }
    .ok_or(Trouble::Malformed("no usable ID"))?;
    Ok(ListAnswer::Page {
        addresses: body.entries,
        cursor,
        skipped: body.skipped,
    })
}

/// Reads an answer to a question about `ip`. `now` is for a `Retry-After` that is a date.
pub fn check(content: &Content, ip: IpAddr, now: Time) -> CheckAnswer {
    let body = match Body::read(content) {
        Ok(body) => body,
        Err(trouble) => return CheckAnswer::NoAnswer(trouble),
    };
    match refusal(content, &body, now) {
        Some(Refusal::Unauthorized) => return CheckAnswer::Unauthorized,
        Some(Refusal::RateLimited(wait)) => return CheckAnswer::RateLimited(wait),
        None => {}
    }
    if !matches!(content.status, 200..=299 | 400 | 404) {
        return CheckAnswer::NoAnswer(Trouble::Status(content.status));
    }
    if body.says("invalid address") || (content.status == 400 && body.is_void()) {
        return CheckAnswer::NotAnAddress;
    }
    let early = body.says("ok") && (body.id.is("0") || body.id.is("none"));
    if body.says("not blocked") || early || (body.id.is("none") && body.is_silent()) {
        return CheckAnswer::NotListed;
    }
    if !content.is_success() {
        return CheckAnswer::NoAnswer(Trouble::Status(content.status));
    }
    if body.is_positive_for(ip) {
        return CheckAnswer::Listed;
    }
    CheckAnswer::NoAnswer(Trouble::Malformed("neither listed nor not listed"))
}

enum Refusal {
    Unauthorized,
    RateLimited(Duration),
}

/// "Too many requests" carries the ID "unauthorized" too, so its status and its words come first.
fn refusal(content: &Content, body: &Body, now: Time) -> Option<Refusal> {
    if content.status == 429 || body.says("rate limit exceeded") {
        let asked = content.retry_after.as_deref();
        let wait = asked.and_then(|text| retry_after(text, now));
        Some(Refusal::RateLimited(wait.unwrap_or_default()))
    } else if content.status == 401 || (content.status < 500 && body.id.is("unauthorized")) {
        Some(Refusal::Unauthorized)
    } else {
        None
    }
}

/// `Retry-After` in seconds or as a date, clamped to 1 s and [`RETRY_AFTER_MAX`].
fn retry_after(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            Time::from_micros(date.timestamp().as_microsecond()).since(now)
        }
    };
    Some(wait.clamp(Duration::from_secs(1), RETRY_AFTER_MAX))
}

impl Content {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(status: u16, body: &str) -> Content {
        Content {
            status,
            retry_after: None,
            whole: true,
            body: body.into(),
        }
    }

    fn now() -> Time {
        Time::from_secs(784_111_777) // Sun, 06 Nov 1994 08:49:37 GMT
    }

    /// One word for what a list answer is.
    fn listed(content: &Content) -> String {
        match list(content, now()) {
            ListAnswer::Page {
                addresses,
                cursor,
                skipped: 0,
            } => format!("page {} to {cursor}", addresses.join(" ")),
            ListAnswer::Page {
                addresses,
                cursor,
                skipped,
            } => format!(
                "page {} to {cursor}, {skipped} skipped",
                addresses.join(" ")
            ),
            ListAnswer::Finished => "finished".to_owned(),
            ListAnswer::Unauthorized => "unauthorized".to_owned(),
            ListAnswer::RateLimited(wait) => format!("wait {}", wait.as_secs()),
            ListAnswer::Broken(trouble) => format!("broken: {trouble}"),
        }
    }

    fn checked(content: &Content) -> String {
        let ip = "1.2.3.4".parse().unwrap();
        match check(content, ip, now()) {
            CheckAnswer::Listed => "listed".to_owned(),
            CheckAnswer::NotListed => "not listed".to_owned(),
            CheckAnswer::NotAnAddress => "not an address".to_owned(),
            CheckAnswer::Unauthorized => "unauthorized".to_owned(),
            CheckAnswer::RateLimited(wait) => format!("wait {}", wait.as_secs()),
            CheckAnswer::NoAnswer(trouble) => format!("no answer: {trouble}"),
        }
    }

    #[test]
    fn what_a_list_answer_means() {
        const AGREED: &str = "broken: an answer without sense: not the JSON that was agreed on";
        const NO_ID: &str = "broken: an answer without sense: no usable ID";
        const BARE: &str = "broken: an answer without sense: a page without an address";
        for (status, body, wanted) in [
            // Pages, in every spelling.
            (
                200,
                r#"{"ipaddress":["1.2.3.4","5.6.7.8"],"ID":"1698425647"}"#,
                "page 1.2.3.4 5.6.7.8 to 1698425647",
            ),
            (
                200,
                r#"{"ID":1698425647,"ipaddress":["1.2.3.4"]}"#,
                "page 1.2.3.4 to 1698425647",
            ),
            (
                200,
                r#"{"IPAddress":["1.2.3.4"],"id":"7","more":{"a":[1,{}]}}"#,
                "page 1.2.3.4 to 7",
            ),
            (
                200,
                r#"{"ipaddress":"1.2.3.4","ID":"7"}"#,
                "page 1.2.3.4 to 7",
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.4",5,null,{"a":1},[2],true,1.5,-1],"ID":"7"}"#,
                "page 1.2.3.4 to 7, 7 skipped",
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.4","garbage"],"ID":"7"}"#,
                "page 1.2.3.4 garbage to 7",
            ),
            (
                200,
                r#"{"ID":"6","ipaddress":["9.9.9.9"],"ipaddress":["1.2.3.4"],"id":"7"}"#,
                "page 1.2.3.4 to 7",
            ),
            (
                206,
                r#"{"ipaddress":["1.2.3.4"],"ID":"7"}"#,
                "page 1.2.3.4 to 7",
            ),
            // The end of the list.
            (
                400,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "finished",
            ),
            (
                404,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "finished",
            ),
            (
                408,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "finished",
            ),
            (
                200,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "finished",
            ),
            (
                400,
                r#"{"ipaddress":"no new bans","ID":"none"}"#,
                "finished",
            ),
            (400, r#"{"ipaddress":"No New Bans","id":null}"#, "finished"),
            (200, r#"{"ID":"none"}"#, "finished"),
            (400, r#"{"ID":"none"}"#, "finished"),
            (200, r#"{"ipaddress":null,"ID":"none"}"#, "finished"),
            (200, r#"{"ipaddress":[],"ID":"none"}"#, "finished"),
            // Refusals; "too many" says "unauthorized" too.
            (
                403,
                r#"{"ipaddress":"none","ID":"unauthorized"}"#,
                "unauthorized",
            ),
            (
                401,
                r#"{"ipaddress":["none"],"ID":"unauthorized"}"#,
                "unauthorized",
            ),
            (
                200,
                r#"{"ipaddress":["none"],"ID":"unauthorized"}"#,
                "unauthorized",
            ),
            (400, r#"{"ID":"Unauthorized"}"#, "unauthorized"),
            (401, "", "unauthorized"),
            (403, "<html>", "broken: status 403"),
            (403, "{}", "broken: status 403"),
            (
                429,
                r#"{"ipaddress":"rate limit exceeded","ID":"unauthorized"}"#,
                "wait 0",
            ),
            (
                429,
                r#"{"ipaddress":["none"],"ID":"unauthorized"}"#,
                "wait 0",
            ),
            (429, "<html>", "wait 0"),
            (429, "", "wait 0"),
            (
                400,
                r#"{"ipaddress":"rate limit exceeded","ID":"none"}"#,
                "wait 0",
            ),
            (
                400,
                r#"{"ipaddress":["Rate Limit Exceeded"],"ID":"unauthorized"}"#,
                "wait 0",
            ),
            (
                200,
                r#"{"ipaddress":["rate limit exceeded"],"ID":"none"}"#,
                "wait 0",
            ),
            // Their trouble, whatever the text.
            (500, "", "broken: status 500"),
            (502, "<html>", "broken: status 502"),
            (
                503,
                r#"{"ipaddress":["1.2.3.4"],"ID":"7"}"#,
                "broken: status 503",
            ),
            (
                503,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "broken: status 503",
            ),
            (500, r#"{"ID":"unauthorized"}"#, "broken: status 500"),
            // Other statuses are errors, not the end of the list.
            (404, "", "broken: status 404"),
            (404, "<html>not found", "broken: status 404"),
            (404, "{}", "broken: status 404"),
            (
                404,
                r#"{"ipaddress":["1.2.3.4"],"ID":"7"}"#,
                "broken: status 404",
            ),
            (408, "", "broken: status 408"),
            (408, "{}", "broken: status 408"),
            (400, "{}", "broken: status 400"),
            (
                410,
                r#"{"ipaddress":["no new bans"],"ID":"none"}"#,
                "broken: status 410",
            ),
            (301, "", "broken: status 301"),
            // Nothing of use in a 200.
            (200, "", "broken: an answer without sense: an empty body"),
            (200, "{}", BARE),
            (200, "[]", AGREED),
            (200, "null", AGREED),
            (200, "<html>hello", AGREED),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"7"} x"#, AGREED),
            (
                200,
                r#"{"ipaddress":["1.2.3.4"#,
                "broken: an answer without sense: JSON that ends too early",
            ),
            (200, r#"{"ipaddress":{"a":1},"ID":"7"}"#, AGREED),
            (200, r#"{"ipaddress":7,"ID":"7"}"#, AGREED),
            (200, r#"{"ipaddress":[],"ID":"7"}"#, BARE),
            (200, r#"{"ipaddress":[1,2],"ID":"7"}"#, BARE),
            (200, r#"{"ID":"7"}"#, BARE),
            // Cursors that cannot be.
            (200, r#"{"ipaddress":["1.2.3.4"]}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":null}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":""}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"0"}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"none"}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"12a"}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"-7"}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":1.5}"#, NO_ID),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":{"a":1}}"#, NO_ID),
            (
                200,
                r#"{"ipaddress":["1.2.3.4"],"ID":"123456789012345678901"}"#,
                NO_ID,
            ),
        ] {
            assert_eq!(listed(&content(status, body)), wanted, "{status} {body}");
        }
    }

    #[test]
    fn a_page_must_be_whole_and_of_a_sane_size() {
        let mut cut = content(200, r#"{"ipaddress":["1.2.3.4"],"ID":"7"}"#);
        cut.whole = false;
        assert_eq!(
            listed(&cut),
            "broken: the answer broke off, or does not say where it ends"
        );
        for (entries, good) in [(PAGE_ENTRIES_MAX, true), (PAGE_ENTRIES_MAX + 1, false)] {
            let body = format!(
                r#"{{"ipaddress":["1.2.3.4"{}],"ID":"7"}}"#,
                r#","1.2.3.4""#.repeat(entries - 1)
            );
            let answer = list(&content(200, &body), now());
            assert_eq!(matches!(answer, ListAnswer::Page { .. }), good, "{entries}");
        }
    }

    #[test]
    fn what_a_check_answer_means() {
        const NEITHER: &str = "no answer: an answer without sense: neither listed nor not listed";
        for (status, body, wanted) in [
            (
                200,
                r#"{"ipaddress":["1.2.3.4"],"ID":"987654321"}"#,
                "listed",
            ),
            (200, r#"{"IPADDRESS":["1.2.3.4"],"id":987654321}"#, "listed"),
            (200, r#"{"ipaddress":"1.2.3.4","ID":"987654321"}"#, "listed"),
            (
                200,
                r#"{"ipaddress":["::ffff:1.2.3.4"],"ID":"987654321"}"#,
                "listed",
            ),
            (200, r#"{"ipaddress":["1.2.3.4"]}"#, "listed"),
            (200, r#"{"ipaddress":"blocked","ID":"987654321"}"#, "listed"),
            (200, r#"{"ipaddress":["blocked"],"ID":987654321}"#, "listed"),
            (
                400,
                r#"{"ipaddress":["not blocked"],"ID":"none"}"#,
                "not listed",
            ),
            (
                404,
                r#"{"ipaddress":["not blocked"],"ID":"none"}"#,
                "not listed",
            ),
            (
                200,
                r#"{"ipaddress":["not blocked"],"ID":"none"}"#,
                "not listed",
            ),
            (200, r#"{"ipaddress":"ok","ID":"0"}"#, "not listed"),
            (404, r#"{"ipaddress":"ok","ID":"0"}"#, "not listed"),
            (400, r#"{"ipaddress":"not blocked"}"#, "not listed"),
            (400, r#"{"ID":"none"}"#, "not listed"),
            (
                400,
                r#"{"ipaddress":["invalid address"],"ID":"none"}"#,
                "not an address",
            ),
            (400, "{}", "not an address"),
            (
                403,
                r#"{"ipaddress":"none","ID":"unauthorized"}"#,
                "unauthorized",
            ),
            (401, "", "unauthorized"),
            (
                429,
                r#"{"ipaddress":"rate limit exceeded","ID":"unauthorized"}"#,
                "wait 0",
            ),
            (
                400,
                r#"{"ipaddress":"rate limit exceeded","ID":"none"}"#,
                "wait 0",
            ),
            // Positive only with the right status and exactly the right address.
            (200, "", "no answer: an answer without sense: an empty body"),
            (200, "{}", NEITHER),
            (
                200,
                "<html>",
                "no answer: an answer without sense: not the JSON that was agreed on",
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.5"],"ID":"987654321"}"#,
                NEITHER,
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.4","1.2.3.5"],"ID":"987654321"}"#,
                NEITHER,
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.4",7],"ID":"987654321"}"#,
                NEITHER,
            ),
            (
                200,
                r#"{"ipaddress":["1.2.3.4 "],"ID":"987654321"}"#,
                NEITHER,
            ),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"none"}"#, NEITHER),
            (200, r#"{"ipaddress":["1.2.3.4"],"ID":"0"}"#, NEITHER),
            (200, r#"{"ipaddress":"blocked","ID":"0"}"#, NEITHER),
            (200, r#"{"ipaddress":"blocked"}"#, NEITHER),
            (200, r#"{"ipaddress":"blocked","ID":"yes"}"#, NEITHER),
            (200, r#"{"ipaddress":"ok","ID":"7"}"#, NEITHER),
            (
                400,
                r#"{"ipaddress":["1.2.3.4"],"ID":"987654321"}"#,
                "no answer: status 400",
            ),
            (
                404,
                r#"{"ipaddress":["1.2.3.4"],"ID":"987654321"}"#,
                "no answer: status 404",
            ),
            (404, "", "no answer: status 404"),
            (404, "{}", "no answer: status 404"),
            (
                408,
                r#"{"ipaddress":["not blocked"],"ID":"none"}"#,
                "no answer: status 408",
            ),
            (
                500,
                r#"{"ipaddress":["not blocked"],"ID":"none"}"#,
                "no answer: status 500",
            ),
        ] {
            assert_eq!(checked(&content(status, body)), wanted, "{status} {body}");
        }
    }

    #[test]
    fn what_retry_after_asks() {
        for (text, wanted) in [
            ("0", "wait 1"),
            ("77", "wait 77"),
            (" 77 ", "wait 77"),
            ("9999999", "wait 900"),
            ("Sun, 06 Nov 1994 08:51:37 GMT", "wait 120"),
            ("Sun, 06 Nov 1994 08:00:00 GMT", "wait 1"),
            ("soon", "wait 0"),
            ("-5", "wait 0"),
        ] {
            let mut content = content(429, "");
            content.retry_after = Some(text.to_owned());
            assert_eq!(listed(&content), wanted, "{text}");
            assert_eq!(checked(&content), wanted, "{text}");
        }
    }

    #[test]
    fn deep_and_wide_bodies_do_no_harm() {
        for body in [
            "[".repeat(100_000),
            format!(r#"{{"ipaddress":{}"#, "[".repeat(100_000)),
            format!(r#"{{"x":{}"#, r#"{"x":"#.repeat(100_000)),
            format!(
                r#"{{"ipaddress":["1.2.3.4",{}7],"ID":"7"}}"#,
                "7,".repeat(500_000)
            ),
        ] {
            listed(&content(200, &body));
            checked(&content(200, &body));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(
            status in 100_u16..600,
            retry_after in prop::option::of(".{0,40}"),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let content = Content { status, retry_after, whole: true, body };
            listed(&content);
            checked(&content);
        }

        /// Only a success status and the very address make an answer positive.
        #[test]
        fn nothing_else_is_positive(
            status in 100_u16..600,
            text in "(1\\.2\\.3\\.[45]|blocked|ok|not blocked|none| )",
            id in "(none|unauthorized|0|7|x)",
        ) {
            let body = format!(r#"{{"ipaddress":["{text}"],"ID":"{id}"}}"#);
            let listed = checked(&content(status, &body)) == "listed";
            let right = (200..300).contains(&status)
                && (text == "1.2.3.4" || text == "blocked")
                && id == "7";
            prop_assert_eq!(listed, right);
        }
    }
}
