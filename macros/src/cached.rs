//! `#[cached]`: a function that is read through the cache.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Result};

use crate::function::{Cache, Function, Outcome};
use crate::key;
use crate::policy::{self, policy};
use crate::settings::Settings;

/// Writes the functions.
pub(crate) fn expand(settings: Settings, item: TokenStream) -> Result<TokenStream> {
    let known = ["prefix", "key", "skip", "group", "cache", "if", "unless"];
    let mut settings = settings.only(&[&policy::SETTINGS[..], &known].concat())?;
    let function = Function::parse(item, "cached")?;
    let cache = function.cache(settings.value("cache")?)?;
    let Some(policy) = policy(&mut settings)? else {
        let message = "how long is it kept? Say `ttl = \"30m\"`, or `policy = …`";
        return Err(Error::new(Span::call_site(), message));
    };
    let prefix = settings.text("prefix")?;
    let key = settings.value("key")?;
    let skipped = settings.names("skip")?;
    let mut key = key::of_cached(&function, &cache, prefix.as_ref(), key.as_ref(), &skipped)?;
    if let Some(group) = settings.value("group")? {
        let group = key::group(&group)?;
        key = quote!(#key.in_group(#group));
    }
    let plan = Plan {
        condition: condition(settings.value("if")?, settings.value("unless")?),
        load: function.companion("load"),
        function,
        cache,
        key,
        policy,
    };
    Ok(plan.write())
}

/// When the cache takes part.
fn condition(only_if: Option<Expr>, unless: Option<Expr>) -> Option<TokenStream> {
    match (only_if, unless) {
        (None, None) => None,
        (Some(only_if), None) => Some(only_if.into_token_stream()),
        (None, Some(unless)) => Some(quote!(!(#unless))),
        (Some(only_if), Some(unless)) => Some(quote!((#only_if) && !(#unless))),
    }
}

struct Plan {
    function: Function,
    cache: Cache,
    key: TokenStream,
    policy: TokenStream,
    condition: Option<TokenStream>,
    load: Ident,
}

impl Plan {
    fn write(&self) -> TokenStream {
        let whole = self.whole();
        let peek = self.peek();
        let read = self.read();
        let arguments = self.function.body_arguments(&self.cache);
        let load = self.function.body_function(&self.load, &arguments);
        quote!(#whole #peek #read #load)
    }

    /// The function as it was, out of the cache.
    fn whole(&self) -> TokenStream {
        let Function {
            attributes,
            conditions,
            visibility,
            signature,
            arguments,
            outcome,
            ..
        } = &self.function;
        let name = &signature.ident;
        let read = self.function.companion("read");
        let (parameters, _, bounds) = signature.generics.split_for_impl();
        let (declared, output) = (self.function.declared(), &signature.output);
        let this = self.path();
        // What is still needed where there is no value is lent.
        let is_certain = outcome.error.is_some() && outcome.is_optional;
        let given = arguments.iter().map(|argument| {
            if is_certain {
                argument.name.to_token_stream()
            } else {
                argument.lent()
            }
        });
        let load = self.call_load(&this);
        let read = quote!(#this #read(#(#given,)* ::alacena::cache::Mode::Read).await);
        let body = match (&outcome.error, outcome.is_optional) {
            (Some(_), true) => quote!(::core::result::Result::Ok(#read?.value)),
            (Some(_), false) => quote! {
                match #read?.value {
                    ::core::option::Option::Some(value) => ::core::result::Result::Ok(value),
                    ::core::option::Option::None => #load.await,
                }
            },
            (None, true) => quote! {
                match #read {
                    ::core::result::Result::Ok(read) => read.value,
                    ::core::result::Result::Err(::alacena::cache::Interrupted) => #load.await,
                }
            },
            (None, false) => quote! {
                match #read {
                    ::core::result::Result::Ok(::alacena::cache::Read {
                        value: ::core::option::Option::Some(value),
                        ..
                    }) => value,
                    _ => #load.await,
                }
            },
        };
        quote! {
            #(#conditions)*
            #(#attributes)*
            #visibility async fn #name #parameters (#(#declared),*) #output #bounds {
                #body
            }
        }
    }

    /// The look without waiting.
    fn peek(&self) -> TokenStream {
        let Function {
            conditions,
            visibility,
            signature,
            outcome: Outcome { value, .. },
            ..
        } = &self.function;
        let (name, peek) = (&signature.ident, self.function.companion("peek"));
        let (parameters, _, bounds) = signature.generics.split_for_impl();
        let declared = self.function.declared();
        let (cache, key) = (&self.cache.expression, &self.key);
        let only = self.condition.iter();
        let about = format!(
            "What [`{name}`]({}) answers, if it is at hand.",
            self.link()
        );
        quote_spanned! {Span::mixed_site()=>
            #(#conditions)*
            #[doc = #about]
            #[allow(
                dead_code,
                unused_variables,
                reason = "not everybody looks before they read, and not every argument is looked at"
            )]
            #visibility fn #peek #parameters (#(#declared),*)
                -> ::core::option::Option<::alacena::cache::Hit<#value>> #bounds
            {
                #(if !(#only) {
                    return ::core::option::Option::None;
                })*
                let key = #key;
                #cache.peek::<#value>(&key)
            }
        }
    }

    /// The read that says where its answer came from.
    fn read(&self) -> TokenStream {
        let Function {
            conditions,
            visibility,
            signature,
            outcome: Outcome { value, error, .. },
            ..
        } = &self.function;
        let (name, read) = (&signature.ident, self.function.companion("read"));
        let (parameters, _, bounds) = signature.generics.split_for_impl();
        let declared = self.function.declared();
        let (cache, key, policy) = (&self.cache.expression, &self.key, &self.policy);
        let error = match error {
            Some(error) => error.to_token_stream(),
            None => quote!(::alacena::cache::Interrupted),
        };
        let about = format!(
            "What [`{name}`]({}) answers, and where it came from. With `Mode::Refresh` it is what \
             a call that begins now answers.",
            self.link()
        );
        // One more than the function has, of which the author knows nothing.
        let is_long = (declared.len() == 7).then(
            || quote!(#[allow(clippy::too_many_arguments, reason = "the mode comes on top")]),
        );
        let bypass = self.bypass();
        let load = self.load();
        // Where the types are named, so that the compiler points there.
        let here = Span::mixed_site().located_at(value.span());
        let look = quote_spanned!(here=> #cache.peek::<#value>(&key));
        let go =
            quote_spanned!(here=> #cache.read::<#value, #error, _>(&key, policy, mode, load).await);
        quote_spanned! {Span::mixed_site()=>
            #(#conditions)*
            #[doc = #about]
            #[doc = ""]
            #[doc = "# Errors"]
            #[doc = "Why there is no answer."]
            #is_long
            #visibility async fn #read #parameters (
                #(#declared,)*
                mode: ::alacena::cache::Mode,
            ) -> ::core::result::Result<::alacena::cache::Read<#value>, #error> #bounds {
                #bypass
                let key = #key;
                if mode == ::alacena::cache::Mode::Read {
                    if let ::core::option::Option::Some(hit) = #look {
                        return ::core::result::Result::Ok(hit);
                    }
                }
                let policy = #policy;
                let load = #load;
                #go
            }
        }
    }

    /// What answers where the cache takes no part.
    fn bypass(&self) -> Option<TokenStream> {
        let condition = self.condition.as_ref()?;
        let answer = self.answered(&self.call_load(&self.path()));
        Some(quote_spanned! {Span::mixed_site()=>
            if !(#condition) {
                let answer: ::core::result::Result<_, _> = #answer;
                return answer.map(::alacena::cache::Read::uncached);
            }
        })
    }

    /// What a reader who finds nothing starts, with copies of everything it needs.
    fn load(&self) -> TokenStream {
        let (copies, call) = self.function.in_a_task(&self.cache, &self.load);
        let answer = self.answered(&call);
        quote! {{
            #copies
            move || async move { #answer }
        }}
    }

    /// What a call of the body answers, as the cache wants to be told it.
    fn answered(&self, call: &TokenStream) -> TokenStream {
        let Outcome {
            is_optional, error, ..
        } = &self.function.outcome;
        match (error, is_optional) {
            (Some(_), true) => quote!(#call.await),
            (Some(_), false) => quote!(#call.await.map(::core::option::Option::Some)),
            (None, true) => quote!(::core::result::Result::Ok(#call.await)),
            (None, false) => {
                quote!(::core::result::Result::Ok(::core::option::Option::Some(#call.await)))
            }
        }
    }

    /// A call of the body by whoever has the arguments.
    fn call_load(&self, path: &TokenStream) -> TokenStream {
        let load = &self.load;
        let arguments = self.function.body_arguments(&self.cache);
        let names = arguments.iter().map(|argument| &argument.name);
        quote!(#path #load(#(#names),*))
    }

    /// What stands before a call of another of these functions.
    fn path(&self) -> TokenStream {
        match &self.function.receiver {
            Some(receiver) => {
                let this = receiver.self_token;
                quote!(#this.)
            }
            None => TokenStream::new(),
        }
    }

    /// Where documentation finds the function.
    fn link(&self) -> String {
        let name = self.function.name();
        match self.function.receiver {
            Some(_) => format!("Self::{name}"),
            None => name.to_string(),
        }
    }
}
