//! Reads the sources with `syn`: every path that a file names, resolved to the module or the crate that it leads to.
//!
//! `use` trees with their renames, paths in types, expressions and patterns, paths inside macros (token by token) and in
//! the strings of attributes all count. What is compiled for tests alone does not: items under `#[cfg(test)]`, and files
//! whose `mod` line stands under it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// A module path below the crate's root, or a crate and a path within it.
pub(super) type Path = Vec<String>;

/// A path as a source names it.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) line: usize,
    /// Begins with `crate` for our own modules, else with the name of a crate or something local; a macro that is
    /// called ends with `!`.
    pub(super) path: Path,
    /// Whether it is given on under this module.
    pub(super) is_reexport: bool,
}

/// A file as the rules see it.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to `src`.
    pub(super) path: String,
    pub(super) module: Path,
    pub(super) lines: usize,
    pub(super) names: Vec<Name>,
    /// Names of methods that are called.
    pub(super) methods: Vec<(usize, String)>,
    /// Files that `#[path]` names.
    pub(super) files: Vec<(usize, String)>,
    /// Lines of items that are neither `mod` nor `use`.
    pub(super) definitions: Vec<usize>,
    /// What `pub use` makes available under this module: name, then the path that it stands for.
    reexports: Vec<(String, Path)>,
}

/// All sources of a crate.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) files: Vec<Source>,
    modules: BTreeMap<Path, String>,
    reexports: BTreeMap<Path, Path>,
}

impl Sources {
    /// Parses files, by their path relative to `src`; those of tests alone are left out.
    pub(super) fn parse(texts: &BTreeMap<String, String>) -> Self {
        let modules: BTreeMap<Path, String> = texts.keys().map(|file| (module_of(file), file.clone())).collect();
        let trees: BTreeMap<&String, syn::File> = texts
            .iter()
            .map(|(file, text)| (file, syn::parse_file(text).unwrap_or_else(|e| panic!("{file}: {e}"))))
            .collect();
        let mut for_tests = BTreeSet::new();
        for (file, tree) in &trees {
            collect_test_modules(&tree.items, &module_of(file), &mut for_tests);
        }
        let is_for_tests = |module: &Path| (1..=module.len()).any(|n| for_tests.contains(&module[..n]));
        let mut files = Vec::new();
        for (file, tree) in &trees {
            let module = module_of(file);
            if is_for_tests(&module) {
                continue;
            }
            let mut aliases = Aliases { scope: module.clone(), modules: &modules, found: Vec::new() };
            aliases.visit_file(tree);
            let mut reader = Reader {
                scope: module.clone(),
                modules: &modules,
                aliases: aliases.found.into_iter().collect(),
                names: Vec::new(),
                methods: Vec::new(),
                reexports: Vec::new(),
                files: Vec::new(),
            };
            reader.visit_file(tree);
            let definitions = tree.items.iter().filter(|item| !is_for_test(attributes(item)) && !is_listing(item));
            files.push(Source {
                path: (*file).clone(),
                module,
                lines: texts[*file].lines().count(),
                names: reader.names,
                methods: reader.methods,
                files: reader.files,
                definitions: definitions.map(|item| item.span().start().line).collect(),
                reexports: reader.reexports,
            });
        }
        let mut reexports = BTreeMap::new();
        for source in &files {
            for (name, path) in &source.reexports {
                let mut key = source.module.clone();
                key.push(name.clone());
                if !modules.contains_key(&key) {
                    reexports.insert(key, path.clone());
                }
            }
        }
        Self { files, modules, reexports }
    }

    /// The file that defines what a path of ours leads to, through all re-exports.
    pub(super) fn defining_module(&self, path: &[String]) -> Path {
        let mut path = path.strip_prefix(["crate".to_owned()].as_slice()).unwrap_or(path).to_vec();
        for _ in 0..16 {
            let step = (1..=path.len()).find_map(|n| self.reexports.get(&path[..n]).map(|to| (n, to)));
            let Some((n, to)) = step else { break };
            if to[0] != "crate" {
                break;
            }
            let mut next = to[1..].to_vec();
            next.extend_from_slice(&path[n..]);
            path = next;
        }
        while !self.modules.contains_key(&path) && !path.is_empty() {
            path.pop();
        }
        path
    }
}

/// `merge/plan/mod.rs` is `merge::plan`; `lib.rs` is the root.
pub(super) fn module_of(file: &str) -> Path {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::TraitAlias(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

/// What a `mod.rs` may hold.
fn is_listing(item: &Item) -> bool {
    match item {
        Item::Use(_) => true,
        Item::Mod(module) => module.content.is_none(),
        _ => false,
    }
}

/// Whether attributes say `#[cfg(test)]`, alone or among what must all hold.
fn is_for_test(attributes: &[Attribute]) -> bool {
    fn holds_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("all") => list
                .parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|metas| metas.iter().any(holds_test)),
            _ => false,
        }
    }
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && holds_test(&attribute.meta))
}

fn collect_test_modules(items: &[Item], module: &Path, found: &mut BTreeSet<Path>) {
    for item in items {
        let Item::Mod(inner) = item else { continue };
        let mut path = module.clone();
        path.push(inner.ident.to_string());
        if is_for_test(&inner.attrs) {
            found.insert(path);
        } else if let Some((_, items)) = &inner.content {
            collect_test_modules(items, &path, found);
        }
    }
}

/// Leaves of a `use` tree with the names that they get.
fn leaves(tree: &UseTree, before: &Path, found: &mut Vec<(Path, String)>) {
    match tree {
        UseTree::Path(step) => {
            let mut path = before.clone();
            path.push(step.ident.to_string());
            leaves(&step.tree, &path, found);
        }
        UseTree::Name(name) if name.ident == "self" => {
            let name = before.last().cloned().unwrap_or_else(|| "self".to_owned());
            found.push((before.clone(), name));
        }
        UseTree::Name(name) => {
            let mut path = before.clone();
            path.push(name.ident.to_string());
            found.push((path, name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            let mut path = before.clone();
            if rename.ident != "self" {
                path.push(rename.ident.to_string());
            }
            found.push((path, rename.rename.to_string()));
        }
        UseTree::Glob(_) => found.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
    }
}

/// A path as written in `scope`, from the root: of a `use` of this file, of a module, or of a crate.
fn resolve(
    path: &[String],
    scope: &Path,
    modules: &BTreeMap<Path, String>,
    alias: impl Fn(&str) -> Option<Path>,
) -> Path {
    let ours = |steps: &[String], rest: &[String]| {
        let mut path = vec!["crate".to_owned()];
        path.extend_from_slice(steps);
        path.extend_from_slice(rest);
        path
    };
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    match first.as_str() {
        "crate" | "billon" => ours(&[], rest),
        "self" => resolve_super(scope.clone(), rest, ours),
        "super" => resolve_super(scope.clone(), path, ours),
        _ => {
            let mut child = scope.clone();
            child.push(first.clone());
            if modules.contains_key(&child) {
                return ours(&child, rest);
            }
            let Some(mut whole) = alias(first) else { return path.to_vec() };
            whole.extend_from_slice(rest);
            whole
        }
    }
}

fn resolve_super(mut scope: Path, path: &[String], ours: impl Fn(&[String], &[String]) -> Path) -> Path {
    let ups = path.iter().take_while(|step| *step == "super").count();
    for _ in 0..ups {
        scope.pop();
    }
    ours(&scope, &path[ups..])
}

/// First look: what `use` and `extern crate` name.
struct Aliases<'a> {
    scope: Path,
    modules: &'a BTreeMap<Path, String>,
    found: Vec<(String, Path)>,
}

impl<'ast> Visit<'ast> for Aliases<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.scope.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.scope.pop();
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.rename.as_ref().map_or(&item.ident, |(_, name)| name).to_string();
        let of = if item.ident == "self" { "crate".to_owned() } else { item.ident.to_string() };
        self.found.push((name, vec![of]));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &Vec::new(), &mut found);
        for (path, name) in found {
            let known = &self.found;
            let alias = |first: &str| known.iter().find(|(name, _)| name == first).map(|(_, path)| path.clone());
            let whole = resolve(&path, &self.scope, self.modules, alias);
            self.found.push((name, whole));
        }
    }
}

/// Second look: every path.
struct Reader<'a> {
    scope: Path,
    modules: &'a BTreeMap<Path, String>,
    aliases: BTreeMap<String, Path>,
    names: Vec<Name>,
    methods: Vec<(usize, String)>,
    reexports: Vec<(String, Path)>,
    files: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn whole(&self, path: &[String]) -> Path {
        resolve(path, &self.scope, self.modules, |first| self.aliases.get(first).cloned())
    }

    fn note(&mut self, line: usize, path: &[String]) {
        let path = self.whole(path);
        self.names.push(Name { line, path, is_reexport: false });
    }

    /// Paths among tokens: names with `::` between them, however they are spaced, and names before `!`.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(first) => {
                    let (line, mut path) = (first.span().start().line, vec![first.to_string()]);
                    while colon(at + 1) && colon(at + 2) {
                        let Some(TokenTree::Ident(step)) = tokens.get(at + 3) else { break };
                        path.push(step.to_string());
                        at += 3;
                    }
                    let calls = matches!(tokens.get(at + 1), Some(TokenTree::Punct(mark)) if mark.as_char() == '!');
                    if calls {
                        path.last_mut().expect("it has a first step").push('!');
                    }
                    if path.len() > 1 || calls {
                        self.note(line, &path);
                    }
                }
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Literal(literal) => self.note_string(&literal.to_string(), literal.span().start().line),
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    /// `serde(with = "crate::x")`.
    fn note_string(&mut self, text: &str, line: usize) {
        let text = text.trim_matches('"');
        if text.starts_with("crate::") && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            self.note(line, &text.split("::").map(str::to_owned).collect::<Path>());
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.scope.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.scope.pop();
        }
        for attribute in &module.attrs {
            if let Meta::NameValue(pair) = &attribute.meta
                && pair.path.is_ident("path")
                && let syn::Expr::Lit(literal) = &pair.value
                && let syn::Lit::Str(file) = &literal.lit
            {
                self.files.push((pair.span().start().line, file.value()));
            }
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.note(item.span().start().line, &[item.ident.to_string()]);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut found = Vec::new();
        leaves(&item.tree, &Vec::new(), &mut found);
        for (path, name) in found {
            if matches!(item.vis, Visibility::Inherited) {
                self.note(item.span().start().line, &path);
            } else {
                let whole = self.whole(&path);
                self.names.push(Name { line: item.span().start().line, path: whole.clone(), is_reexport: true });
                self.reexports.push((name, whole));
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let steps: Path = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(path.span().start().line, &steps);
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.methods.push((call.method.span().start().line, call.method.to_string()));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut steps: Path = call.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        steps.last_mut().expect("a path has a segment").push('!');
        self.note(call.path.span().start().line, &steps);
        self.note_tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.note_tokens(list.tokens.clone());
        }
    }
}
