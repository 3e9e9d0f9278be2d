//! A little shell: as much of `sh` as firewall actions of fail2ban are written in.
//!
//! A script is parsed and then *played*: words are expanded, loops run, and each program
//! is handed to [`Programs`], which have a model of the firewall and touch nothing real.
//! Whatever is not understood is [`Strange`], so nobody takes a script for what it is not.
//!
//! Absent: variables of the environment, files, `if`, functions, arithmetic.

mod parse;
mod tools;

use std::collections::BTreeMap;

use parse::{Command, Kind, Link, List, Part, Pipeline, Word, parse};
use tools::{at_most, grep, sed};

/// How long a script may be; the longest stock one has 1 kB.
const SCRIPT_BYTES_MAX: usize = 16 * 1024;

/// How many commands a script may play, loops included.
const STEPS_MAX: u32 = 2_000;

/// What a loop's body is played with when there is nothing to play it with.
const ANY: &str = "1";

/// Something in a script that is not understood, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Strange(pub(super) String);

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) success: bool,
    pub(super) output: String,
}

impl Done {
    /// It ended so, and printed nothing.
    pub(super) fn quietly(success: bool) -> Self {
        Done {
            success,
            output: String::new(),
        }
    }
}

/// The programs that a script can call, besides the shell's own and `sed` and `grep`.
pub(super) trait Programs {
    /// Runs a program: its name, and its arguments.
    fn run(&mut self, words: &[String]) -> Result<Done, Strange>;

    /// The same programs with a copy of all that they change.
    fn aside(&self) -> Box<dyn Programs>;
}

/// Plays a script; says whether it ended well.
pub(super) fn play(script: &str, programs: &mut dyn Programs) -> Result<bool, Strange> {
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(strange("it is too long"));
    }
    let list = parse(script, 0)?;
    let mut player = Player {
        programs,
        variables: BTreeMap::new(),
        steps: 0,
    };
    Ok(player.list(&list, "")?.success)
}

fn strange(text: impl Into<String>) -> Strange {
    Strange(text.into())
}

struct Player<'a> {
    programs: &'a mut dyn Programs,
    variables: BTreeMap<String, String>,
    steps: u32,
}

impl Player<'_> {
    fn list(&mut self, list: &List, input: &str) -> Result<Done, Strange> {
        let mut all = Done::quietly(true);
        for (link, pipeline) in list {
            let is_due = match link {
                Link::Then => true,
                Link::And => all.success,
                Link::Or => !all.success,
            };
            if !is_due {
                self.aside(|player| player.pipeline(pipeline, input))?;
                continue;
            }
            let done = self.pipeline(pipeline, input)?;
            all.success = done.success;
            all.output += &done.output;
        }
        Ok(all)
    }

    /// Plays what is not due here, for nothing but to see whether it is understood: on a real
    /// machine it may be due.
    fn aside(
        &mut self,
        play: impl FnOnce(&mut Player) -> Result<Done, Strange>,
    ) -> Result<(), Strange> {
        let mut programs = self.programs.aside();
        let mut player = Player {
            programs: programs.as_mut(),
            variables: self.variables.clone(),
            steps: self.steps,
        };
        play(&mut player)?;
        self.steps = player.steps;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, input: &str) -> Result<Done, Strange> {
        let mut done = Done {
            success: true,
            output: input.to_owned(),
        };
        for command in pipeline {
            done = self.command(command, &done.output)?;
        }
        Ok(done)
    }

    fn command(&mut self, command: &Command, input: &str) -> Result<Done, Strange> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(strange("it does too much"));
        }
        let mut done = match &command.kind {
            Kind::Simple(words) => {
                let words = self.words(words)?;
                self.simple(&words, input)?
            }
            Kind::Group(list) => self.list(list, input)?,
            Kind::For(name, words, body) => {
                let values = self.words(words)?;
                self.each(name, values.iter().map(String::as_str), body)?
            }
            Kind::WhileRead(name, body) => self.each(name, input.lines().map(str::trim), body)?,
        };
        if command.silent {
            done.output.clear();
        }
        Ok(done)
    }

    fn each<'v>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'v str>,
        body: &List,
    ) -> Result<Done, Strange> {
        let mut all = Done::quietly(true);
        let mut values = values.peekable();
        if values.peek().is_none() {
            self.aside(|player| {
                player.variables.insert(name.to_owned(), ANY.to_owned());
                player.list(body, "")
            })?;
        }
        for value in values {
            self.variables.insert(name.to_owned(), value.to_owned());
            let done = self.list(body, "")?;
            all.success = done.success;
            all.output += &done.output;
        }
        Ok(all)
    }

    /// Expands words: what is not quoted is split at blanks.
    fn words(&mut self, words: &[Word]) -> Result<Vec<String>, Strange> {
        let mut fields = Vec::new();
        for word in words {
            let mut field: Option<String> = None;
            for part in word {
                let (text, quoted) = match part {
                    Part::Text { text, .. } => (text.clone(), true),
                    Part::Variable { name, quoted } => match self.variables.get(name) {
                        Some(value) => (value.clone(), *quoted),
                        None => return Err(strange(format!("nobody sets `${name}`"))),
                    },
                    Part::Output { list, quoted } => {
                        let output = self.list(list, "")?.output;
                        (output.trim_end_matches('\n').to_owned(), *quoted)
                    }
                };
                if quoted {
                    field.get_or_insert_default().push_str(&text);
                    continue;
                }
                if text.starts_with(char::is_whitespace) {
                    fields.extend(field.take());
                }
                for (number, piece) in text.split_whitespace().enumerate() {
                    if number > 0 {
                        fields.extend(field.take());
                    }
                    field.get_or_insert_default().push_str(piece);
                }
                if text.ends_with(char::is_whitespace) {
                    fields.extend(field.take());
                }
            }
            fields.extend(field);
        }
        Ok(fields)
    }

    fn simple(&mut self, words: &[String], input: &str) -> Result<Done, Strange> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(Done::quietly(true));
        };
        match program.as_str() {
            "true" | ":" => Ok(Done::quietly(true)),
            "false" => Ok(Done::quietly(false)),
            "[" => at_most(arguments),
            "echo" => Ok(Done {
                success: true,
                output: arguments.join(" ") + "\n",
            }),
            "sed" => sed(arguments, input),
            "grep" => grep(arguments, input),
            _ => self.programs.run(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// Programs that write down how they are called; `no` fails.
    #[derive(Default)]
    struct Recorder(String);

    impl Programs for Recorder {
        fn run(&mut self, words: &[String]) -> Result<Done, Strange> {
            self.0 += &format!("{words:?}\n");
            Ok(Done {
                success: words[0] != "no",
                output: format!("{} handle 7\n", words.join(" ")),
            })
        }

        fn aside(&self) -> Box<dyn Programs> {
            Box::new(Recorder::default())
        }
    }

    fn check(script: &str, expected: Expect) {
        let mut recorder = Recorder::default();
        let ended = play(script, &mut recorder);
        expected.assert_eq(&format!("{}{ended:?}\n", recorder.0));
    }

    #[test]
    fn commands_are_played() {
        check(
            "{ no -C a >/dev/null 2>&1; } || { fw -N a || true; fw -A a; }\nfw b && fw 'c  d' \"e $(echo f)\"",
            expect![[r#"
                ["no", "-C", "a"]
                ["fw", "-N", "a"]
                ["fw", "-A", "a"]
                ["fw", "b"]
                ["fw", "c  d", "e f"]
                Ok(true)
            "#]],
        );
        check(
            "for one in $(echo 'a,b' | sed 's/,/ /g'); do\nfor two in x y; do fw $one-$two; done\ndone; no",
            expect![[r#"
                ["fw", "a-x"]
                ["fw", "a-y"]
                ["fw", "b-x"]
                ["fw", "b-y"]
                ["no"]
                Ok(false)
            "#]],
        );
        check(
            r"{ list @a x | grep -oP '@a\s+.*\s+\Khandle\s+(\d+)$'; } | while read -r h; do fw \{ $h \}\; p$(echo ' q r ')s; done",
            expect![[r#"
                ["list", "@a", "x"]
                ["fw", "{", "handle", "7", "};", "p", "q", "r", "s"]
                Ok(true)
            "#]],
        );
    }

    #[test]
    fn what_is_not_understood_is_strange() {
        for (script, why) in [
            ("fw > /etc/passwd", "writes to"),
            ("fw &", "`&`"),
            ("fw `id`", "`"),
            ("fw $HOME", "nobody sets `$HOME`"),
            ("fw <ip>", "`<`"),
            ("if fw; then fw; fi", "no command ends"),
            ("{ fw; ", "`}` is missing"),
            ("fw 'a", "not closed"),
            ("echo a | sed 's/.*/b/g'", "sed"),
            ("fw ||", "ends in"),
        ] {
            let ended = play(script, &mut Recorder::default());
            let told = match &ended {
                Err(Strange(text)) => text.contains(why),
                // `if` and `then` are programs to us, and the model knows none of that name.
                Ok(_) => script.starts_with("if"),
            };
            assert!(told, "{script}: {ended:?}");
        }
        let deep = "{ ".repeat(40) + "fw" + &"; }".repeat(40);
        assert!(play(&deep, &mut Recorder::default()).is_err());
        let long = "fw;".repeat(20_000);
        assert!(play(&long, &mut Recorder::default()).is_err());
        let wide = "for a in 1 2 3 4 5 6 7 8 9; do ".repeat(4) + "fw" + &"; done".repeat(4);
        assert!(play(&wide, &mut Recorder::default()).is_err());
    }
}
