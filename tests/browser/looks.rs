//! Whoever looks: with a keyboard alone, on a phone, in the dark.

use fantoccini::key::Key;
use serde_json::json;

use crate::browser::Page;
use crate::support::{ADMIN_EMAIL, ADMIN_PASSWORD, TestApp, eventually};

/// What has the focus, by its id, or else by its text.
const FOCUSED: &str = "const it = document.activeElement; return it.id || it.textContent.trim()";

#[tokio::test(flavor = "multi_thread")]
async fn a_keyboard_is_enough() {
    let app = TestApp::start("").await;
    let page = Page::open(&app, "/dashboard").await;
    page.shows("#login").await;
    assert_eq!(page.eval(FOCUSED).await, "email", "the form waits for it");
    page.press(ADMIN_EMAIL, Key::Tab).await;
    assert_eq!(page.eval(FOCUSED).await, "password");
    page.press(ADMIN_PASSWORD, Key::Enter).await;
    page.shows("#board").await;
    assert_eq!(page.eval(FOCUSED).await, "now-title");

    let mut order = Vec::new();
    while order.last().is_none_or(|last| last != "Clear…") {
        assert!(order.len() < 20, "{order:?}");
        page.press("", Key::Tab).await;
        order.push(
            page.eval(FOCUSED)
                .await
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        let is_seen = "return document.activeElement.matches(':focus-visible')";
        assert_eq!(page.eval(is_seen).await, true, "{order:?}");
    }
    let expected = ["pattern", "Clear…"];
    assert_eq!(order[order.len() - 2..], expected, "{order:?}");

    page.press("", Key::Enter).await;
    page.shows("#clear-dialog").await;
    assert_eq!(
        page.eval(FOCUSED).await,
        "Cancel",
        "what does no harm has the focus"
    );
    page.press("", Key::Escape).await;
    eventually("the dialog closes", async || {
        !page.is_shown("#clear-dialog").await
    })
    .await;
    assert_eq!(
        page.eval(FOCUSED).await,
        "Clear…",
        "it goes on where it was"
    );
    assert_eq!(page.text("#clear-result").await, "");
    page.close(&[]).await;
}

/// How far an element reaches beyond what can be seen of the page.
const OVERFLOW: &str =
    "const it = document.documentElement; return it.scrollWidth - it.clientWidth";

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_wide_enough() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    let page = Page::open(&app, "/dashboard").await;
    page.resize(360, 800).await;
    assert_eq!(page.eval(OVERFLOW).await, 0);
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.shows("#chart").await;
    page.click("details summary").await;
    page.type_into("#key", "user:1").await;
    page.click("#entry-form button").await;
    page.says("#copies", "near").await;
    assert_eq!(page.eval(OVERFLOW).await, 0);
    page.click("#clear-form button").await;
    page.shows("#clear-dialog").await;
    assert_eq!(page.eval(OVERFLOW).await, 0);
    page.close(&[]).await;
}

/// The texts that are hard to read: less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3).
const PALE: &str = r"
    const parts = (color) => color.match(/[\d.]+/g).map(Number);
    const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const groundOf = (element) => {
      for (let it = element; it; it = it.parentElement) {
        const ground = parts(getComputedStyle(it).backgroundColor);
        if (ground.length < 4 || ground[3] > 0) return ground;
      }
      return [255, 255, 255];
    };
    const has = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const pale = [];
    for (const element of document.body.querySelectorAll('*')) {
      if (!element.checkVisibility() || !has(element)) continue;
      const pair = [parts(getComputedStyle(element).color), groundOf(element)].map(light).sort((a, b) => b - a);
      const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
      if (contrast < 4.5) pale.push(`${element.textContent.trim()}: ${contrast.toFixed(2)}`);
    }
    return pale.join(', ');
";

/// Day and night, with the ground that pictures have then.
const THEMES: [(&str, [u8; 3]); 2] = [("light", [255, 255, 255]), ("dark", [24, 28, 34])];

/// Fails unless every text can be read by day and by night, this part of the page among them.
pub(crate) async fn is_legible(page: &Page, part: &str) {
    for (theme, _) in THEMES {
        page.prefer(theme).await;
        // What changes slowly has changed.
        page.eval("document.getAnimations().forEach((it) => it.finish())")
            .await;
        assert!(page.is_shown(part).await, "{part} is not there");
        assert_ne!(page.text(part).await.trim(), "", "{part}");
        assert_eq!(page.eval(PALE).await, "", "{theme}, {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_can_be_read_by_day_and_by_night() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    let page = Page::open(&app, "/dashboard").await;
    page.shows("#login").await;
    is_legible(&page, "#login").await;
    page.log_in(ADMIN_EMAIL, "wrong").await;
    page.says("#login-refusal", "wrong").await;
    is_legible(&page, "#login-refusal").await;

    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.shows("#chart").await;
    page.says("#cache-status", "available").await;
    page.click("details summary").await;
    is_legible(&page, "#hours").await;
    page.type_into("#key", "user:1").await;
    page.click("#entry-form button").await;
    page.says("#copies", "near").await;
    is_legible(&page, "#copies").await;
    page.type_into("#pattern", "[a").await;
    page.click("#clear-form button").await;
    page.shows("#clear-dialog").await;
    is_legible(&page, "#clear-dialog").await;
    page.click("#clear-dialog button[value=clear]").await;
    page.says("#clear-result", "Refused").await;
    is_legible(&page, "#clear-result").await;
    page.close(&["status of 401", "status of 422"]).await;
}

/// The colour of the picture's corner as it is shown.
const CORNER: &str = "
    const image = document.getElementById('chart');
    if (!image.complete || image.naturalWidth === 0) return null;
    const context = document.createElement('canvas').getContext('2d');
    context.drawImage(image, 0, 0);
    return [...context.getImageData(1, 1, 1, 1).data].slice(0, 3);
";

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_is_of_the_pages_theme() {
    let app = TestApp::start("").await;
    let page = Page::dashboard(&app).await;
    for (theme, ground) in THEMES {
        page.prefer(theme).await;
        page.shows("#chart").await;
        eventually(theme, async || page.eval(CORNER).await == json!(ground)).await;
    }
    page.close(&[]).await;
}
