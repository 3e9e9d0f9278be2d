//! The layouts that are known without being told: fail2ban's seventeen.
//!
//! Each is tried first at the line's beginning, unless it is bound to that anyway,
//! and then anywhere.

use std::sync::Arc;

use super::hints::Hints;
use super::template::{Beginning, LINE_BEGIN, Template, WEIGHT_LINE_BEGIN};
use super::token::Years;

/// A layout.
pub(super) struct Layout {
    form: Form,
    /// What every text of it holds.
    needs: Hints,
    /// What it begins with, apart from blanks and signs.
    first: Hints,
}

enum Form {
    /// A datepattern, for anywhere.
    Anywhere(&'static str),
    /// A datepattern that holds only with this in front.
    Bound(&'static str, &'static str),
    Epoch,
    Tai64n,
}

/// The places of two layouts in [`LAYOUTS`], for the hand-written reader, and of
/// the two that look like the second.
pub(super) const ISO: usize = 0;
pub(super) const SYSLOG: usize = 1;
pub(super) const SYSLOG_LIKE: [usize; 2] = [14, 15];

const CLOCK: Hints = Hints::CLOCK;
const NAMED: Hints = Hints::CLOCK.and(Hints::MONTH);
const NUMBERS: Hints = Hints::CLOCK.and(Hints::SEPARATOR);
const DIGIT: Hints = Hints::LEADING_DIGIT;
const LETTER: Hints = Hints::LEADING_LETTER;

const fn anywhere(pattern: &'static str, needs: Hints, first: Hints) -> Layout {
    Layout {
        form: Form::Anywhere(pattern),
        needs,
        first,
    }
}

const fn bound(before: &'static str, pattern: &'static str, needs: Hints) -> Layout {
    Layout {
        form: Form::Bound(before, pattern),
        needs,
        first: Hints::NONE,
    }
}

/// All layouts, in the order in which they are tried.
pub(super) const LAYOUTS: [Layout; 17] = [
    // 2026-11-22T07:50:06.123+02:00, also with / or . or blanks
    anywhere(
        r"%ExY(?P<sep>[-/.])%m(?P=sep)%d(?:T| {1,2})%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
        NUMBERS,
        DIGIT,
    ),
    // Sun Nov 22 07:50:06.123 2026
    anywhere(r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?", NAMED, LETTER),
    // Sun Nov 22 2026 07:50:06.123
    anywhere(r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?", NAMED, LETTER),
    // 22/11/2026 07:50:06, 22-11-26 07:50:06
    anywhere(
        r"%d(?P<sep>[-/])%m(?P=sep)(?:%ExY|%Exy) %k:%M:%S",
        NUMBERS,
        DIGIT,
    ),
    // 22/Nov/2026:07:50:06.123 +0200
    anywhere(
        r"%d(?P<sep>[-/])%b(?P=sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
        NAMED,
        DIGIT,
    ),
    // 11/22/2026:07:50:06
    anywhere("%m/%d/%ExY:%H:%M:%S", NUMBERS, DIGIT),
    // 11-22-2026 07:50:06.123
    anywhere(r"%m-%d-%ExY %k:%M:%S(?:\.%f)?", NUMBERS, DIGIT),
    // 1795333806.123
    Layout {
        form: Form::Epoch,
        needs: Hints::TEN,
        first: DIGIT,
    },
    // 07:50:06
    bound(LINE_BEGIN, "%H:%M:%S", CLOCK),
    // <11/22/26@07:50:06>
    bound("", "^<%m/%d/%Exy@%H:%M:%S>", NUMBERS),
    // 261122 07:50:06
    anywhere("%Exy%Exm%Exd {1,2}%H:%M:%S", CLOCK.and(Hints::SIX), DIGIT),
    // Nov 22, 2026 7:50:06 AM
    anywhere("%b %d, %ExY %I:%M:%S %p", NAMED, LETTER),
    // Nov-22-26 07:50:06
    bound("", "^%b-%d-%Exy %k:%M:%S", NAMED),
    // 20261122T075006.123+0200, also with - or blanks, and with colons
    anywhere(
        r"%ExY%Exm%Exd(?:-|T| {1,2})%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?",
        Hints::SIX,
        DIGIT,
    ),
    // CET Sun Nov 22 07:50:06.123 2026
    anywhere(
        r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
        NAMED,
        LETTER,
    ),
    // +0100 Sun Nov 22 07:50:06.123 2026
    anywhere(
        r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
        NAMED,
        Hints::NONE,
    ),
    // @400000006553f100abcdef01
    Layout {
        form: Form::Tai64n,
        needs: Hints::AT,
        first: Hints::NONE,
    },
];

/// A template, and whether it is the line-begin form of the layout at a place in
/// [`LAYOUTS`].
pub(super) type Placed = (Arc<Template>, Option<usize>);

/// All templates: 14 for the line's beginning, then the 17 as they are.
pub(super) fn all(years: Years) -> Vec<Placed> {
    let first = (0..LAYOUTS.len()).filter_map(|place| at_begin(place, years));
    let others = (0..LAYOUTS.len()).map(|place| as_it_is(place, years));
    first.chain(others).collect()
}

/// Those that are bound to the line's beginning.
pub(super) fn line_begin(years: Years) -> Vec<Placed> {
    all(years)
        .into_iter()
        .filter(|(template, _)| template.anchored)
        .collect()
}

/// The datepatterns of [`all`], in its order.
pub(super) fn patterns() -> impl Iterator<Item = String> {
    let word = |form: &Form| match form {
        Form::Anywhere(text) | Form::Bound(_, text) => (*text).to_owned(),
        Form::Epoch => "EPOCH".to_owned(),
        Form::Tai64n => "TAI64N".to_owned(),
    };
    let first = LAYOUTS.iter().filter_map(move |layout| match layout.form {
        Form::Bound(..) => None,
        _ => Some(format!("{LINE_BEGIN}{}", word(&layout.form))),
    });
    first.chain(LAYOUTS.iter().map(move |layout| match layout.form {
        Form::Bound(before, text) => format!("{before}{text}"),
        _ => word(&layout.form),
    }))
}

/// The texts of the layouts without what they are bound by; seconds since 1970 and
/// TAI64N as the words by which the default list calls them.
pub(super) fn texts() -> impl Iterator<Item = &'static str> {
    LAYOUTS.iter().map(|layout| match layout.form {
        Form::Anywhere(text) | Form::Bound(_, text) => text,
        Form::Epoch => "Epoch",
        Form::Tai64n => "TAI64N",
    })
}

fn at_begin(place: usize, years: Years) -> Option<Placed> {
    let layout = &LAYOUTS[place];
    let template = match layout.form {
        Form::Anywhere(text) => known(&format!("{LINE_BEGIN}{text}"), years)?,
        Form::Epoch => Template::epoch(false, Beginning::Line),
        Form::Tai64n => Template::tai64n(Beginning::Line),
        Form::Bound(..) => return None,
    };
    let template = template.known(WEIGHT_LINE_BEGIN, layout.needs.and(layout.first));
    Some((Arc::new(template), Some(place)))
}

fn as_it_is(place: usize, years: Years) -> Placed {
    let layout = &LAYOUTS[place];
    let template = match layout.form {
        Form::Anywhere(text) => known(text, years),
        Form::Bound(before, text) => known(&format!("{before}{text}"), years),
        Form::Epoch => Some(Template::epoch(false, Beginning::Word)),
        Form::Tai64n => Some(Template::tai64n(Beginning::Word)),
    };
    let template = template.unwrap_or_else(|| Template::epoch(false, Beginning::Word));
    (Arc::new(template.known(1, layout.needs)), None)
}

/// The layouts' tokens are known: a test compiles them all.
fn known(text: &str, years: Years) -> Option<Template> {
    Template::new(text, years).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_layouts_compile() {
        let years = Years::at(crate::time::Time::default());
        for text in texts() {
            Template::new(text, years).unwrap().check(false).unwrap();
        }
        let anchored = |templates: &[Placed]| {
            templates
                .iter()
                .filter(|(template, _)| template.anchored)
                .count()
        };
        let all = all(years);
        for (template, _) in &all {
            template.check(false).unwrap();
        }
        assert_eq!((all.len(), anchored(&all)), (31, 17));
        assert_eq!(line_begin(years).len(), 17);
    }
}
