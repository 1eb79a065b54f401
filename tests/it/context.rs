//! Runs the built program in the repository, with its caches in a folder that goes away.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder for a test's files, and the program.
pub(crate) struct Context {
    directory: TempDir,
}

/// What a run left: exit code (`None` when a signal ended it) and both streams.
#[derive(Debug)]
pub(crate) struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file into the test's folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A copy of a model directory with the tiny tokenizer beside it, which training wants.
    pub(crate) fn model_with_tokenizer(&self, model: &Path) -> PathBuf {
        let base = self.path(&format!("{}-base", model.file_name().unwrap().to_str().unwrap()));
        std::fs::create_dir_all(&base).unwrap();
        for from in [model, &fixture("tokenizer/tiny")] {
            for (name, bytes) in files(from) {
                let to = base.join(name.file_name().unwrap());
                if !to.exists() {
                    std::fs::write(to, bytes).unwrap();
                }
            }
        }
        base
    }

    /// The program, to be run in the repository's root: recipes name the fixtures relative to it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billon"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().env("PATH", "").env("HOME", self.path("home"));
        command.env("BILLON_CACHE_DIR", self.path("cache")).env("HF_HOME", self.path("hf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub(crate) fn run<I>(&self, arguments: I) -> Run
    where
        I: IntoIterator<Item: AsRef<std::ffi::OsStr>>,
    {
        finished(self.command().args(arguments).output().unwrap())
    }

    /// Merges after a recipe text and returns the output directory, which must have come to be.
    pub(crate) fn merge(&self, name: &str, recipe: &str, options: &[&str]) -> PathBuf {
        let recipe = self.write(&format!("{name}.yml"), recipe);
        self.merge_file(name, &recipe, options)
    }

    /// Merges after a recipe file.
    pub(crate) fn merge_file(&self, name: &str, recipe: &Path, options: &[&str]) -> PathBuf {
        let out = self.path(name);
        let run = self.merge_run(recipe, &out, options);
        assert_eq!(run.code, Some(0), "{}: {}", recipe.display(), run.stderr);
        out
    }

    /// A merge that may fail.
    pub(crate) fn merge_run(&self, recipe: &Path, out: &Path, options: &[&str]) -> Run {
        let mut command = self.command();
        command.arg("merge").arg(recipe).arg(out).args(options);
        finished(command.output().unwrap())
    }

    /// Names in the test's folder that the program may not leave behind: staging directories.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.directory.path()).unwrap();
        let names = names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|n| n.starts_with('.')).collect()
    }
}

fn finished(output: Output) -> Run {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A file of the repository's `fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Every file below a directory, by name, with its bytes.
pub(crate) fn files(directory: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A folder of the shared models and data beside the checkout; says so when it is absent.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BILLON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not there (set BILLON_SHARED)", folder.display());
    None
}
