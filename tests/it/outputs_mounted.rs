//! Outputs that are mount points, as a container's volumes are.

use std::path::Path;
use std::process::Command;

use crate::context::{Context, files, fixture};

/// Runs a script in a mount namespace of its own; `None`, said aloud, where that is not allowed.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn mounted(context: &Context, script: &str) -> Option<(Option<i32>, String)> {
    let allowed = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("SKIPPED: mount namespaces are not allowed here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("BILLON", env!("CARGO_BIN_EXE_billon")).env("BILLON_CACHE_DIR", context.path("cache"));
    command.env("HOME", context.path("home")).env("T", context.path("")).env("FIXTURES", fixture(""));
    let output = command.output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn recipe(context: &Context, model: &str) {
    let text = format!("merge_method: passthrough\nmodels: [{{model: fixtures/checkpoints/f32/{model}}}]\n");
    context.write(&format!("{model}.yml"), &text);
}

#[test]
fn a_mount_point_is_filled_from_inside_it() {
    let context = Context::new();
    recipe(&context, "ft1");
    recipe(&context, "ft2");
    let plain = context.merge_file("plain", &context.path("ft2.yml"), &["-q"]);
    for (kind, mount) in [("tmpfs", "mount -t tmpfs tmpfs"), ("bind", "mount --bind \"$T/source\"")] {
        std::fs::create_dir_all(context.path("source")).unwrap();
        let script = format!(
            "cd \"$T\"; mkdir o-{kind}; {mount} o-{kind}; cd \"$OLDPWD\"
             $BILLON merge \"$T/ft1.yml\" \"$T/o-{kind}\" -q
             ! $BILLON merge \"$T/ft2.yml\" \"$T/o-{kind}\" -q
             $BILLON merge \"$T/ft2.yml\" \"$T/o-{kind}\" -q --force
             cp -a \"$T/o-{kind}\" \"$T/copy-{kind}\"
             echo mine > \"$T/o-{kind}/notes\"
             ! $BILLON merge \"$T/ft1.yml\" \"$T/o-{kind}\" -q --force
             test -e \"$T/o-{kind}/notes\""
        );
        let Some((code, stderr)) = mounted(&context, &script) else { return };
        assert_eq!(code, Some(0), "{kind}: {stderr}");
        assert!(stderr.contains("did not write: notes"), "{stderr}");
        assert_eq!(files(&context.path(&format!("copy-{kind}"))), files(&plain), "{kind}: the same files as elsewhere");
        assert_eq!(context.leftovers(), [""; 0], "nothing on the parent's file system");
    }
}

#[test]
fn stages_of_a_merge_into_a_mount_point_lie_inside_it_and_go() {
    let context = Context::new();
    recipe(&context, "ft1");
    let one = std::fs::read_to_string(context.path("ft1.yml")).unwrap();
    let two = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n";
    context.write("two.yml", &format!("name: a\n{one}---\n{two}"));
    let script = "mkdir \"$T/m\"; mount -t tmpfs tmpfs \"$T/m\"; mkdir \"$T/m/lost+found\"
         $BILLON merge \"$T/two.yml\" \"$T/m\" -q
         $BILLON merge \"$T/two.yml\" \"$T/m\" -q --force
         test -z \"$(find \"$T/m\" -name '.*billon*')\"; test -d \"$T/m/lost+found\"; test -e \"$T/m/config.json\"";
    let Some((code, stderr)) = mounted(&context, script) else { return };
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(context.leftovers(), [""; 0]);
}

#[test]
fn convert_and_a_current_directory_are_filled_too() {
    let context = Context::new();
    recipe(&context, "ft1");
    let gguf = std::fs::read_dir(fixture("gguf")).unwrap().map(|e| e.unwrap().path());
    let gguf = gguf.filter(|p| p.extension().is_some_and(|e| e == "gguf")).min().unwrap();
    let script = format!(
        "mkdir \"$T/m\"; mount -t tmpfs tmpfs \"$T/m\"
         $BILLON convert {gguf:?} \"$T/m\" -q
         $BILLON convert {gguf:?} \"$T/m\" -q --force
         $BILLON convert {gguf:?} \"$T/plain\" -q
         diff -r \"$T/m\" \"$T/plain\""
    );
    let Some((code, stderr)) = mounted(&context, &script) else { return };
    assert_eq!(code, Some(0), "{stderr}");
    // An empty current directory stays the directory that the shell is in.
    let here = context.path("here");
    std::fs::create_dir(&here).unwrap();
    let text = std::fs::read_to_string(context.path("ft1.yml")).unwrap();
    context.write("absolute.yml", &text.replace("fixtures/", &format!("{}/", fixture("").display())));
    let mut command = context.command();
    let output = command.current_dir(&here).args(["merge", "../absolute.yml", ".", "-q"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(here.join("model.safetensors").exists() && here.join("billon.lock.json").exists());
    assert!(!here.join("billon.manifest.json").exists(), "the lock is the list");
    let hidden = |folder: &Path| files(folder).keys().filter(|name| name.to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden(&here), 0);
}
