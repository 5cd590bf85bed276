//! Keys and groups: how the code that makes them looks.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, LitStr, Result};

use crate::function::{Argument, Cache, Function, mentions};
use crate::settings::text_of;
use crate::template::{Piece, Template};

/// What the code of a key may speak of besides the arguments: what a write has answered.
pub(crate) const RESULT: &str = "result";

/// A key, as code.
pub(crate) struct Key {
    pub(crate) code: TokenStream,
    /// Whether it can be made only once the write has answered.
    pub(crate) is_of_result: bool,
}

/// The key that a cached function's answer is kept under.
pub(crate) fn of_cached(
    function: &Function,
    cache: &Cache,
    prefix: Option<&LitStr>,
    key: Option<&Expr>,
    skipped: &[Ident],
) -> Result<TokenStream> {
    for name in skipped {
        if function.argument(name).is_none() {
            let message = format!("there is no argument `{name}` to leave out");
            return Err(Error::new(name.span(), message));
        }
    }
    if let Some(empty) = prefix.filter(|prefix| prefix.value().is_empty()) {
        return Err(Error::new(
            empty.span(),
            "a prefix has at least one character",
        ));
    }
    let in_key = |argument: &&Argument| {
        cache.argument.as_ref() != Some(&argument.name) && !skipped.contains(&argument.name)
    };
    let arguments: Vec<&Argument> = function.arguments.iter().filter(in_key).collect();
    let (prefix, key) = match (prefix, key) {
        (None, None) => {
            let message = "the key has no name: give it a `prefix = \"…\"`, to which the arguments \
                           are added, or a `key = …`";
            return Err(Error::new(Span::call_site(), message));
        }
        (Some(prefix), None) => return Ok(of_arguments(prefix, &arguments)),
        (prefix, Some(key)) => (prefix, key),
    };
    if let Some(text) = text_of(key) {
        let beginning = prefix.map(|prefix| format!("{}:", prefix.value()));
        let template = template(&text, function, beginning, false)?;
        let is_in = |name: &Ident| template.values().any(|path| *name == path[0]);
        none_forgotten(&arguments, is_in)?;
        return Ok(of_template(&template, &text));
    }
    if let Some(prefix) = prefix {
        let message = "`key` makes the whole key here, and takes no `prefix`";
        return Err(Error::new(prefix.span(), message));
    }
    let code = of_expression(key)?;
    none_forgotten(&arguments, |name| mentions(&code, name))?;
    Ok(code)
}

/// Refuses a key that leaves out an argument. Nobody would see it before two answers were mixed up.
fn none_forgotten(arguments: &[&Argument], is_in: impl Fn(&Ident) -> bool) -> Result<()> {
    let Some(Argument { name, .. }) = arguments.iter().find(|argument| !is_in(&argument.name))
    else {
        return Ok(());
    };
    let message = format!(
        "calls that differ in `{name}` would be answered alike: it is not in the `key`; put it \
         there, or say `skip({name})` if no answer depends on it"
    );
    Err(Error::new(name.span(), message))
}

/// A key that a write makes stale.
pub(crate) fn of_written(function: &Function, key: &Expr) -> Result<Key> {
    match text_of(key) {
        Some(text) => {
            let template = template(&text, function, None, true)?;
            Ok(Key {
                code: of_template(&template, &text),
                is_of_result: template.values().any(|path| path[0] == RESULT),
            })
        }
        None => {
            let code = of_expression(key)?;
            let is_of_result = mentions(&code, &Ident::new(RESULT, Span::call_site()));
            Ok(Key { code, is_of_result })
        }
    }
}

/// The group that a text or an expression names: `"users:list:*"` is the group `users:list`.
pub(crate) fn group(group: &Expr) -> Result<TokenStream> {
    let Some(text) = text_of(group) else {
        return Ok(group.to_token_stream());
    };
    let value = text.value();
    let name = value.strip_suffix(":*").unwrap_or(&value);
    if name.is_empty() || name.contains(['*', '?', '[', '\\']) {
        let message = "a group goes by its name, as in `users:list` or `users:list:*`; to find what \
                       another pattern matches, every key would have to be looked at";
        return Err(Error::new(text.span(), message));
    }
    let name = LitStr::new(name, text.span());
    Ok(quote!(::alacena::cache::Group::new(#name)))
}

fn of_arguments(prefix: &LitStr, arguments: &[&Argument]) -> TokenStream {
    let arguments = arguments.iter().map(|argument| {
        let name = &argument.name;
        let text = LitStr::new(&name.to_string(), name.span());
        quote_spanned!(name.span()=> .argument(#text, &#name))
    });
    quote!(::alacena::cache::KeyBuilder::new(#prefix) #(#arguments)* .build())
}

/// Reads the template, in which every value is to be an argument's.
fn template(
    text: &LitStr,
    function: &Function,
    beginning: Option<String>,
    has_result: bool,
) -> Result<Template> {
    let refuse = |message: String| Error::new(text.span(), message);
    let mut template = Template::parse(&text.value()).map_err(refuse)?;
    for path in template.values() {
        let name = &path[0];
        let is_known = function
            .arguments
            .iter()
            .any(|argument| argument.name == *name)
            || (name == "self" && function.receiver.is_some())
            || (name == RESULT && has_result);
        if !is_known {
            return Err(refuse(format!("there is no argument `{name}`")));
        }
    }
    if template.0.is_empty() {
        return Err(refuse("a key has at least one character".to_owned()));
    }
    if let Some(beginning) = beginning {
        match template.0.first_mut() {
            Some(Piece::Text(first)) => first.insert_str(0, &beginning),
            _ => template.0.insert(0, Piece::Text(beginning)),
        }
    }
    if !matches!(template.0.first(), Some(Piece::Text(_))) {
        let message = "a key begins with a text: one that begins with a value may be any other \
                       function's";
        return Err(refuse(message.to_owned()));
    }
    Ok(template)
}

fn of_template(template: &Template, text: &LitStr) -> TokenStream {
    let span = text.span();
    // Without a colon, `Key::named` sees no kind in it; a constant is one.
    if let ([Piece::Text(name)], true) = (&template.0[..], template.is_constant())
        && name.contains(':')
    {
        let name = LitStr::new(name, span);
        return quote!(::alacena::cache::Key::named(#name));
    }
    let (beginning, pieces) = match template.0.split_first() {
        Some((Piece::Text(first), rest)) => (first.as_str(), rest),
        _ => ("", &template.0[..]),
    };
    let beginning = LitStr::new(beginning, span);
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => {
            let text = LitStr::new(text, span);
            quote!(.text(#text))
        }
        Piece::Value(path) => {
            let names = path.iter().map(|name| Ident::new(name, span));
            quote_spanned!(span=> .value(&#(#names).*))
        }
    });
    quote!(::alacena::cache::KeyBuilder::new(#beginning) #(#pieces)* .build())
}

/// A key that the function's author makes by a call.
fn of_expression(key: &Expr) -> Result<TokenStream> {
    if let Expr::Path(path) = key {
        let name = path.to_token_stream();
        let message = format!(
            "`key` takes a text with arguments in it, as in `\"product:{{id}}\"`, or what makes a \
             `Key` of them, as in `{name}(id)`"
        );
        return Err(Error::new(key.span(), message));
    }
    Ok(key.to_token_stream())
}
