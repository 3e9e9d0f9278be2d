//! The help of `fail2ban-regex`: its options, and what is our own.

/// What follows the program's name.
pub(super) const USAGE: &str = "[OPTIONS] <LOG> <REGEX> [IGNOREREGEX]";

/// All that there is to say.
pub(super) const HELP: &str = "\
Shows what a filter, or a regex, finds in a log.

LOG:
  a file, or a line (or several) as text

REGEX:
  a filter's name, perhaps with options: sshd, sshd[mode=aggressive]
  a filter's file, with a slash in it: ./filter.d/sshd.conf
  a failregex as text

IGNOREREGEX:
  an ignoreregex as text

Options:
  --version             show the version and exit
  -h, --help            show this help and exit
  -V                    show the version number alone and exit
  -c DIR, --config=DIR  the folder with filter.d
  -d PATTERN, --datepattern=PATTERN
                        how dates are written in the log
  --timezone=ZONE, --TZ=ZONE
                        the zone of dates that name none
  -e NAME, --encoding=NAME
                        of the log, such as utf-8 (the default), ascii or latin-1
  -r, --raw             take host names as they are; the same as --usedns=raw
  --usedns=HOW          host names are looked up (yes, warn), are no hosts (no), or
                        are taken as they are (raw)
  -L N, --maxlines=N    how many lines a regex may span; and from how many on
                        missed and ignored lines are too many to print (20)
  -v, --verbose         show what each regex found, and regexes without hits
  --verbosity=N         the same by number (0..4)
  --verbose-date, --VD  show the pattern and the regex of each kind of date
  --no-check-all        stop at the first failregex that matches, as the daemon does
  -o WHAT, --out=WHAT   print only what was found, a line each: id, ip, msg, matches,
                        row, a group (user, ip4, ...), or a template such as
                        '<ip> <F-USER>'
  --print-no-missed     do not print missed lines
  --print-no-ignored    do not print ignored lines
  --print-all-matched   print matched lines
  --print-all-missed    print missed lines, however many
  --print-all-ignored   print ignored lines, however many
  --json                print the report as one JSON object, with the hits and the
                        nanoseconds of each regex
  --time                show how long each regex took

Accepted, and without a meaning here:
  -m, --journalmatch (it reads files only), -l, --log-level, -D, --debuggex,
  -t, --log-traceback, --full-traceback

The report has fail2ban-regex's words and counts. These differ: the time it took; the
text of errors behind the first words; regexes that we write in our own way (--VD, and
addresses in a prefregex); `Real  filter options` is not printed; a filter without a
failregex, an unknown --usedns and an unknown --encoding are errors; an address that
cannot be one (192.0.2.256) is not found; the order of groups in a row of a connection;
a prefregex together with --maxlines, where fail2ban mixes up the lines.

Exit codes: 0 done, whatever was found; 255 something is wrong; 2 an option is.
";

/// The help of the program with this name.
pub(super) fn help(program: &str) -> String {
    format!("Usage: {program} {USAGE}\n\n{HELP}")
}
