//! Files laid over each other: what a jail file, a filter or an action says in the end.
//!
//! For a name X the order is `X.conf`, `X.d/*.conf`, `X.local`, `X.d/*.local`; the later
//! wins. A file pulls in its `[INCLUDES] before` first and its `after` last, and every
//! file is followed by its `.local` sibling. When a file replaces a value, the value it
//! had is kept for `known/…` references. `[Init?family=inet6]` becomes options of
//! `[Init]` whose names end in `?family=inet6`.
//!
//! A missing include is silence, as in fail2ban; a loop of includes is cut.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::interpolate::Scope;
use super::roots::Roots;
use crate::config::error::{ConfigError, ConfigErrorKind, Origin};
use crate::config::ini::{self, DEFAULT, Ini, Options, Ordered, Section, Value};

/// The section that names other files.
pub(super) const INCLUDES: &str = "INCLUDES";

/// How many files one name may pull in. fail2ban's largest is six.
const FILES_MAX: usize = 1_000;

/// Files laid over each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) defaults: Options,
    pub(super) sections: Ordered<Section>,
    /// Per section, the values that were replaced.
    pub(super) known: HashMap<String, Options>,
    /// The files, in the order in which they were laid.
    pub(super) files: Vec<PathBuf>,
    /// What could not be read, and in which section.
    pub(super) errors: Vec<(Option<String>, ConfigError)>,
}

impl Tree {
    /// The options of a section; `[DEFAULT]` is one too.
    pub(super) fn options(&self, section: &str) -> Option<&Options> {
        if section == DEFAULT {
            return Some(&self.defaults);
        }
        self.sections.get(section).map(|section| &section.options)
    }

    /// An option, its references followed; `None` if it is set nowhere.
    pub(super) fn get(&self, section: &str, option: &str) -> Result<Option<Value>, ConfigError> {
        Scope::new(self, section).get(option)
    }

    /// Something that every section may refer to, unless a file says otherwise.
    pub(super) fn set_default(&mut self, option: &str, text: &str) {
        let origin = Origin {
            path: Arc::from(Path::new("")),
            line: 0,
        };
        let text = text.to_owned();
        self.defaults.insert(option, Value { text, origin });
    }

    /// Lays one more file on top.
    fn lay(&mut self, ini: &Ini) {
        for (option, value) in ini.defaults.iter() {
            self.defaults.insert(option, value.clone());
        }
        for (name, section) in ini.sections.iter() {
            match conditional(name) {
                Some((name, condition)) => {
                    let mut renamed = Options::default();
                    for (option, value) in section.options.iter() {
                        renamed.insert(format!("{option}{condition}"), value.clone());
                    }
                    self.lay_section(name, &section.origin, &renamed);
                }
                None => self.lay_section(name, &section.origin, &section.options),
            }
        }
        self.errors.extend(ini.errors.iter().cloned());
    }

    fn lay_section(&mut self, name: &str, origin: &Origin, options: &Options) {
        let Some(section) = self.sections.get_mut(name) else {
            let section = Section {
                origin: origin.clone(),
                options: options.clone(),
            };
            return self.sections.insert(name, section);
        };
        let known = self.known.entry(name.to_owned()).or_default();
        for (option, value) in options.iter() {
            if let Some(replaced) = section.options.get(option) {
                known.insert(option, replaced.clone());
            }
            section.options.insert(option, value.clone());
        }
    }
}

/// `Init?family=inet6` is section `Init` under the condition `?family=inet6`.
pub(super) fn conditional(name: &str) -> Option<(&str, &str)> {
    let at = name.find('?')?;
    let (plain, condition) = (name.get(..at)?, name.get(at..)?);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let fits = !plain.is_empty() && plain.chars().all(word) && condition.len() > 1;
    fits.then_some((plain, condition))
}

/// Reads trees out of roots, each file once.
pub(super) struct Library<'a> {
    pub(super) roots: &'a Roots,
    parsed: RefCell<HashMap<PathBuf, Rc<Ini>>>,
    trees: RefCell<HashMap<PathBuf, Option<Rc<Tree>>>>,
}

impl<'a> Library<'a> {
    pub(super) fn new(roots: &'a Roots) -> Self {
        Library {
            roots,
            parsed: RefCell::default(),
            trees: RefCell::default(),
        }
    }

    /// The tree of a name such as `jail` or `filter.d/sshd`; `None` if it has no file.
    pub(super) fn tree(&self, name: &Path) -> Option<Rc<Tree>> {
        if let Some(tree) = self.trees.borrow().get(name) {
            return tree.clone();
        }
        let tree = self.read(name).map(Rc::new);
        let mut trees = self.trees.borrow_mut();
        trees.insert(name.to_owned(), tree.clone());
        tree
    }

    fn read(&self, name: &Path) -> Option<Tree> {
        let with = |ending: &str| {
            let mut name = name.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let folder = with(".d");
        let mut names = vec![with(".conf")];
        names.extend(self.roots.list(&folder, "conf"));
        names.push(with(".local"));
        names.extend(self.roots.list(&folder, "local"));
        names.retain(|name| self.roots.find(name).is_some());
        self.lay_all(&names)
    }

    /// The tree of one explicit file and what it includes; `None` if it is not there.
    pub(super) fn single(&self, file: &Path) -> Option<Rc<Tree>> {
        self.roots.find(file)?;
        self.lay_all(&[file.to_owned()]).map(Rc::new)
    }

    fn lay_all(&self, names: &[PathBuf]) -> Option<Tree> {
        if names.is_empty() {
            return None;
        }
        let mut files = Vec::new();
        self.follow(names, &mut Vec::new(), &mut files);
        let mut tree = Tree::default();
        for file in &files {
            if let Some(ini) = self.parse(file) {
                tree.lay(&ini);
            }
        }
        if files.len() >= FILES_MAX {
            let what = "files in one chain of includes";
            let kind = ConfigErrorKind::TooMany {
                what,
                max: FILES_MAX,
            };
            let error = ConfigError::new(names.first()?, 0, kind);
            tree.errors.push((None, error));
        }
        tree.files = files;
        Some(tree)
    }

    /// Adds files with their `.local` siblings and includes, in the order of laying.
    fn follow(&self, names: &[PathBuf], above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
        for name in names {
            self.follow_one(name, above, files);
            let sibling = name.with_extension("local");
            if !names.contains(&sibling) && self.roots.find(&sibling).is_some() {
                self.follow_one(&sibling, above, files);
            }
        }
    }

    fn follow_one(&self, name: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
        if files.len() >= FILES_MAX || above.iter().any(|seen| seen == name) {
            return;
        }
        let Some(ini) = self.parse(name) else {
            return;
        };
        above.push(name.to_owned());
        for included in includes(name, &ini, "before") {
            self.follow(&[included], above, files);
        }
        files.push(name.to_owned());
        for included in includes(name, &ini, "after") {
            self.follow(&[included], above, files);
        }
        above.pop();
    }

    fn parse(&self, name: &Path) -> Option<Rc<Ini>> {
        if let Some(ini) = self.parsed.borrow().get(name) {
            return Some(ini.clone());
        }
        let found = self.roots.find(name)?;
        let ini = Rc::new(match self.roots.text(&found) {
            Ok(text) => ini::parse(&text, &Arc::from(found.path.as_path())),
            Err(error) => Ini {
                errors: vec![(None, error)],
                ..Ini::default()
            },
        });
        let mut parsed = self.parsed.borrow_mut();
        parsed.insert(name.to_owned(), ini.clone());
        Some(ini)
    }
}

/// The files that a file names in `[INCLUDES]`, relative to its own folder.
fn includes(name: &Path, ini: &Ini, option: &str) -> Vec<PathBuf> {
    if ini.sections.get(INCLUDES).is_none() {
        return Vec::new();
    }
    let mut alone = Tree::default();
    alone.lay(ini);
    let value = match alone.get(INCLUDES, option) {
        Ok(Some(value)) => value,
        // A reference that leads nowhere is reported where the tree is used.
        Ok(None) | Err(_) => return Vec::new(),
    };
    let folder = name.parent().unwrap_or(Path::new(""));
    let names = value.text.split('\n').filter(|line| !line.is_empty());
    names.map(|line| folder.join(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fail2ban::testing::write_tree;
    use expect_test::{Expect, expect};

    fn check(files: &[(&str, &str)], name: &str, expected: Expect) {
        let folder = write_tree(files);
        let roots = Roots::dir(folder.path());
        let library = Library::new(&roots);
        let tree = library.tree(Path::new(name)).expect("a tree");
        let mut shown = String::from("files:");
        for file in &tree.files {
            shown += &format!(" {}", file.display());
        }
        shown.push('\n');
        let mut show = |section: &str, options: &Options| {
            for (option, value) in options.iter() {
                shown += &format!("[{section}] {option} = {}\n", value.text);
            }
        };
        show(DEFAULT, &tree.defaults);
        for (name, section) in tree.sections.iter() {
            show(name, &section.options);
            if let Some(known) = tree.known.get(name) {
                show(&format!("{name}: known"), known);
            }
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn order_of_files() {
        check(
            &[
                ("jail.conf", "[a]\nx = conf\ny = conf\n"),
                ("jail.local", "[a]\nx = local\n"),
                ("jail.d/b.conf", "[a]\nx = d/b.conf\n"),
                ("jail.d/B.conf", "[a]\nx = d/B.conf\nnew = 1\n"),
                ("jail.d/a.local", "[a]\nx = d/a.local\n"),
                ("jail.d/readme.txt", "nothing"),
            ],
            "jail",
            expect![[r#"
                files: jail.conf jail.d/B.conf jail.d/b.conf jail.local jail.d/a.local
                [a] x = d/a.local
                [a] y = conf
                [a] new = 1
                [a: known] x = local
            "#]],
        );
    }

    #[test]
    fn includes_siblings_and_loops() {
        check(
            &[
                (
                    "filter.d/x.conf",
                    "[INCLUDES]\nbefore = common.conf\n  missing.conf\nafter = ../last.conf\n[Definition]\nv = x\n",
                ),
                (
                    "filter.d/common.conf",
                    "[INCLUDES]\nbefore = x.conf\n[Definition]\nv = common\n",
                ),
                ("filter.d/common.local", "[Definition]\nv = common.local\n"),
                ("last.conf", "[Definition]\nv = last\n"),
            ],
            "filter.d/x",
            expect![[r#"
                files: filter.d/common.conf filter.d/common.local filter.d/x.conf filter.d/../last.conf
                [INCLUDES] before = common.conf
                missing.conf
                [INCLUDES] after = ../last.conf
                [INCLUDES: known] before = x.conf
                [Definition] v = last
                [Definition: known] v = x
            "#]],
        );
    }

    #[test]
    fn conditional_sections() {
        check(
            &[(
                "action.d/x.conf",
                "[Init]\nblocktype = REJECT\n[Init?family=inet6]\nblocktype = REJECT6\n",
            )],
            "action.d/x",
            expect![[r#"
                files: action.d/x.conf
                [Init] blocktype = REJECT
                [Init] blocktype?family=inet6 = REJECT6
            "#]],
        );
    }

    #[test]
    fn a_name_without_files_is_no_tree() {
        let folder = write_tree(&[("jail.conf", "")]);
        let roots = Roots::dir(folder.path());
        assert!(Library::new(&roots).tree(Path::new("filter.d/x")).is_none());
    }
}
