//! `#[invalidates]`: a function that changes what others have cached.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Error, Expr, Result};

use crate::function::{Cache, Function};
use crate::key::{self, Key, RESULT};
use crate::policy::{self, policy};
use crate::settings::Settings;

/// Writes the functions.
pub(crate) fn expand(settings: Settings, item: TokenStream) -> Result<TokenStream> {
    let known = [
        "key", "group", "change", "cache", "through", "absent", "at", "patience",
    ];
    let mut settings = settings.only(&[&known[..], &policy::SETTINGS].concat())?;
    let function = Function::parse(item, "invalidates")?;
    if function.outcome.error.is_none() {
        let message =
            "a write answers `Result<T, E>`: the error says whether it may have been made";
        return Err(Error::new(function.name().span(), message));
    }
    let cache = function.cache(settings.value("cache")?)?;
    let result = function.argument(&Ident::new(RESULT, Span::call_site()));
    if let Some(argument) = result {
        let message = "`result` is what the body answers: call the argument something else";
        return Err(Error::new(argument.name.span(), message));
    }
    let keys = settings.values("key")?;
    let groups = settings.values("group")?;
    let change = settings.value("change")?;
    if keys.is_empty() && groups.is_empty() && change.is_none() {
        let message = "what goes stale? Say `key = …`, `group = …` or `change = …`";
        return Err(Error::new(Span::call_site(), message));
    }
    let policy = policy(&mut settings)?;
    let through = through(
        settings.value("through")?,
        settings.flag("absent")?,
        policy.is_some(),
    )?;
    let keys = keys.iter().map(|one| key::of_written(&function, one));
    let keys = keys.collect::<Result<Vec<Key>>>()?;
    // The key that a value is handed through under is the change's first.
    let is_first_known = change.is_some() || keys.first().is_some_and(|key| !key.is_of_result);
    if let Some((span, _)) = through.as_ref().filter(|_| !is_first_known) {
        let message = "handed through under which key? The first `key` has to be one that is known \
                       before the body runs";
        return Err(Error::new(*span, message));
    }
    let (after, before): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| key.is_of_result);
    let change = base(change, before.into_iter().map(|key| key.code), &groups)?;
    let plan = Plan {
        change,
        after: after.into_iter().map(|key| key.code).collect(),
        at: settings.value("at")?,
        patience: settings.value("patience")?,
        write: function.companion("write"),
        policy: policy.filter(|_| through.is_some()),
        through: through.map(|(_, code)| code),
        function,
        cache,
    };
    Ok(plan.write())
}

/// What is handed through to the cache: a value, or that there is none.
fn through(
    value: Option<Expr>,
    absent: Option<Span>,
    has_policy: bool,
) -> Result<Option<(Span, TokenStream)>> {
    let policy = Ident::new("policy", Span::mixed_site());
    let (span, code) = match (value, absent) {
        (None, None) => return Ok(None),
        (Some(value), None) => {
            let span = syn::spanned::Spanned::span(&value);
            (span, quote!(.through(#value, #policy)))
        }
        (None, Some(span)) => (span, quote!(.through_absence(#policy))),
        (Some(_), Some(span)) => {
            let message = "a write hands a value through, or that there is none";
            return Err(Error::new(span, message));
        }
    };
    if !has_policy {
        let message = "how long is it kept? Say `ttl = \"30m\"`, or `policy = …`";
        return Err(Error::new(span, message));
    }
    Ok(Some((span, code)))
}

/// What is known to go stale before the write begins.
fn base(
    change: Option<Expr>,
    mut keys: impl Iterator<Item = TokenStream>,
    groups: &[Expr],
) -> Result<TokenStream> {
    let base = match change {
        Some(change) => change.into_token_stream(),
        None => match keys.next() {
            Some(written) => quote!(::alacena::cache::Change::of(#written)),
            None => quote!(::alacena::cache::Change::of_something_new()),
        },
    };
    let groups = groups.iter().map(key::group).collect::<Result<Vec<_>>>()?;
    Ok(quote!(#base #(.and(#keys))* #(.and_group(#groups))*))
}

struct Plan {
    function: Function,
    cache: Cache,
    change: TokenStream,
    /// Keys that only the result tells.
    after: Vec<TokenStream>,
    through: Option<TokenStream>,
    policy: Option<TokenStream>,
    at: Option<Expr>,
    patience: Option<Expr>,
    write: Ident,
}

impl Plan {
    fn write(&self) -> TokenStream {
        let Function {
            attributes,
            conditions,
            visibility,
            signature,
            ..
        } = &self.function;
        let name = &signature.ident;
        let (parameters, _, bounds) = signature.generics.split_for_impl();
        let (declared, output) = (self.function.declared(), &signature.output);
        let arguments = self.function.body_arguments(&self.cache);
        let body = self.function.body_function(&self.write, &arguments);
        let (cache, change) = (&self.cache.expression, &self.change);
        let policy = self.policy.iter();
        let work = self.work();
        let write = match &self.patience {
            Some(patience) => quote_spanned! {Span::mixed_site()=>
                #cache.write_within(#patience, change, work).await
            },
            None => quote_spanned!(Span::mixed_site()=> #cache.write(change, work).await),
        };
        quote_spanned! {Span::mixed_site()=>
            #(#conditions)*
            #(#attributes)*
            #visibility async fn #name #parameters (#(#declared),*) #output #bounds {
                let change = #change;
                #(let policy = #policy;)*
                let work = #work;
                #write
            }
            #body
        }
    }

    /// The write, with copies of everything it needs, and what it tells the cache.
    fn work(&self) -> TokenStream {
        let (copies, call) = self.function.in_a_task(&self.cache, &self.write);
        let call = quote!(#call.await);
        // As the settings name it.
        let result = Ident::new(RESULT, Span::call_site());
        let at = self.at.iter();
        let (after, through) = (&self.after, &self.through);
        let written = if after.is_empty() && through.is_none() && self.at.is_none() {
            quote!(#call.map(::alacena::cache::Written::new))
        } else {
            quote! {
                let #result = #call?;
                let written = ::alacena::cache::Written::new(())
                    #(.at(::alacena::cache::Position::from(#at)))*
                    #(.and(#after))*
                    #through;
                ::core::result::Result::Ok(written.map(|()| #result))
            }
        };
        quote! {{
            #copies
            async move { #written }
        }}
    }
}
