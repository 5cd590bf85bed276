//! Whoever looks: with a keyboard alone, on a phone, in the dark.

use fantoccini::key::Key;

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

/// How far an element reaches beyond the page's width.
const OVERFLOW: &str = "return document.documentElement.scrollWidth - innerWidth";

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_wide_enough() {
    let app = TestApp::start("").await;
    let admin = app.admin().await;
    app.get("/users/1").by(&admin).await.expect(200);
    let page = Page::open(&app, "/dashboard").await;
    page.resize(360, 800).await;
    assert!(page.eval(OVERFLOW).await.as_i64() <= Some(0));
    page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    page.shows("#chart").await;
    page.click("details summary").await;
    page.type_into("#key", "user:1").await;
    page.click("#entry-form button").await;
    page.says("#copies", "near").await;
    assert!(page.eval(OVERFLOW).await.as_i64() <= Some(0));
    page.click("#clear-form button").await;
    page.shows("#clear-dialog").await;
    assert!(page.eval(OVERFLOW).await.as_i64() <= Some(0));
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

#[tokio::test(flavor = "multi_thread")]
async fn every_text_can_be_read_by_day_and_by_night() {
    let app = TestApp::start("").await;
    let page = Page::open(&app, "/dashboard").await;
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let picture = "return document.getElementById('chart').src";
    let mut seen = Vec::new();
    for theme in ["light", "dark"] {
        page.prefer(theme).await;
        // What changes slowly has changed.
        page.eval("document.getAnimations().forEach((it) => it.finish())")
            .await;
        if page.is_shown("#login").await {
            assert_eq!(page.eval(PALE).await, "", "{theme}, logged out");
            page.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
        }
        page.shows("#chart").await;
        page.says("#cache-status", "available").await;
        let drawn = async || page.eval(picture).await;
        eventually("the picture is of this theme", async || {
            let drawn = drawn().await;
            seen.iter().all(|(_, earlier)| *earlier != drawn)
        })
        .await;
        page.eval("document.getAnimations().forEach((it) => it.finish())")
            .await;
        assert_eq!(page.eval(PALE).await, "", "{theme}");
        seen.push((page.eval(ground).await, page.eval(picture).await));
    }
    assert_ne!(seen[0].0, seen[1].0, "day and night differ");
    page.close(&[]).await;
}
