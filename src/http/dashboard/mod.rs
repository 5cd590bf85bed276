//! The page that shows how the cache is doing: a few files, and one route of figures for them.

pub(super) mod figures;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, http::header};

use super::conditional::not_modified;
use super::telemetry::Telemetry;

/// A part of the page. Anybody may have it; what it shows needs an admin's token.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $content_type:expr, $name:literal) => {
        File {
            path: $path,
            content_type: $content_type,
            content: include_str!($name),
        }
    };
}

const FILES: [File; 11] = [
    file!("/dashboard", HTML, "page.html"),
    // As it is often typed.
    file!("/dashboard/", HTML, "page.html"),
    file!("/dashboard/style.css", STYLE, "style.css"),
    file!("/dashboard/icon.svg", SVG, "icon.svg"),
    file!("/dashboard/script.js", SCRIPT, "script.js"),
    file!("/dashboard/session.js", SCRIPT, "session.js"),
    file!("/dashboard/banner.js", SCRIPT, "banner.js"),
    file!("/dashboard/figures.js", SCRIPT, "figures.js"),
    file!("/dashboard/history.js", SCRIPT, "history.js"),
    file!("/dashboard/tools.js", SCRIPT, "tools.js"),
    file!("/dashboard/format.js", SCRIPT, "format.js"),
];

/// What the page may do: show itself, ask this service, and draw what that has answered.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' blob:; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'";

const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

pub(super) fn routes(config: &mut ServiceConfig, telemetry: &Telemetry) {
    for file in FILES {
        let etag = format!(
            "\"{}\"",
            &blake3::hash(file.content.as_bytes()).to_hex()[..32]
        );
        let answer = move |request: HttpRequest| {
            let response = serve(&request, file, &etag);
            async { response }
        };
        let routes = [web::get().to(answer.clone()), web::head().to(answer)];
        config.service(telemetry.resource(file.path, routes));
    }
    config.service(telemetry.resource("/dashboard/figures", [web::get().to(figures::figures)]));
}

fn serve(request: &HttpRequest, file: File, etag: &str) -> HttpResponse {
    let is_known = not_modified(request, etag.as_bytes());
    let mut response = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, etag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
    if is_known {
        return response.finish();
    }
    response
        .insert_header((header::CONTENT_TYPE, file.content_type))
        .body(file.content)
}
