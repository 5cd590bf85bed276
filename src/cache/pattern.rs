use std::fmt;
use std::str::FromStr;

/// A glob over key names, as Redis writes them: `*` any text, `?` any one character, `[a-z]` and
/// `[^a-z]` one character of a set, `\` takes the next character as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Literal(char),
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("is empty; `*` matches every key")]
    Empty,
    /// It is longer than [`Pattern::MAX_LENGTH`].
    #[error("is longer than {} characters", Pattern::MAX_LENGTH)]
    TooLong,
    /// A `[` has no `]`.
    #[error("has a `[` without its `]`")]
    UnclosedSet,
    /// It ends in a backslash, which would quote the next character.
    #[error("ends in a backslash that quotes nothing")]
    TrailingBackslash,
}

impl Pattern {
    /// How many characters a pattern may have.
    pub const MAX_LENGTH: usize = 512;

    /// Whether the whole of `name` matches.
    ///
    /// On a mismatch only the last `*` is tried again one character further on, which is enough
    /// for globs and keeps the time within the product of the two lengths.
    pub fn matches(&self, name: &str) -> bool {
        let mut rest = name.chars();
        let mut token = 0;
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if let Some(Token::Any) = self.tokens.get(token) {
                token += 1;
                retry = Some((token, rest.clone()));
                continue;
            }
            let mut ahead = rest.clone();
            match (self.tokens.get(token), ahead.next()) {
                (None, None) => return true,
                (Some(one), Some(c)) if one.accepts(c) => {
                    token += 1;
                    rest = ahead;
                }
                _ => {
                    let Some((after_star, from)) = &mut retry else {
                        return false;
                    };
                    if from.next().is_none() {
                        return false;
                    }
                    token = *after_star;
                    rest = from.clone();
                }
            }
        }
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Token::Any | Token::One => true,
            Token::Literal(literal) => *literal == c,
            Token::Set { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.chars().count() > Self::MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => parse_set(&mut chars)?,
                '\\' => Token::Literal(chars.next().ok_or(PatternError::TrailingBackslash)?),
                literal => Token::Literal(literal),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }
}

fn parse_set(chars: &mut std::str::Chars<'_>) -> Result<Token, PatternError> {
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().ok_or(PatternError::UnclosedSet)? {
            ']' => return Ok(Token::Set { negated, ranges }),
            '\\' => chars.next().ok_or(PatternError::UnclosedSet)?,
            c => c,
        };
        let mut ahead = chars.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *chars = ahead;
                to
            }
            _ => from,
        };
        ranges.push((from.min(to), from.max(to)));
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern
            .parse::<Pattern>()
            .expect("a valid pattern")
            .matches(name)
    }

    #[test]
    fn stars_span_anything_and_question_marks_one_character() {
        assert!(matches("*", ""));
        assert!(matches("user:*", "user:7"));
        assert!(!matches("user:*", "users:list:0:100"));
        assert!(matches("user:?", "user:é"));
        assert!(!matches("user:?", "user:12"));
        assert!(matches("*:list:*:1*", "users:list:0:100"));
        assert!(matches("a*b*c", "a\nb c bc"));
        assert!(!matches("a*b*c", "abcd"));
    }

    #[test]
    fn sets_take_ranges_and_negation() {
        assert!(matches("user:[0-9]", "user:7"));
        assert!(!matches("user:[^0-9]", "user:7"));
        assert!(matches("[9-0]", "5"));
        assert!(matches("[]-]*", "x") == matches("[]", "x"));
        assert!(matches(r"[\]a-]", "]"));
        assert!(matches("[a-]", "-"));
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
    }

    #[test]
    fn what_cannot_be_a_pattern_is_refused_by_name() {
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!(
            "user:[0-9".parse::<Pattern>(),
            Err(PatternError::UnclosedSet)
        );
        assert_eq!(
            "user:\\".parse::<Pattern>(),
            Err(PatternError::TrailingBackslash)
        );
        assert_eq!(
            "x".repeat(513).parse::<Pattern>(),
            Err(PatternError::TooLong)
        );
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    /// The definition of a glob, without regard for time.
    fn naive(tokens: &[Token], name: &[char]) -> bool {
        match (tokens, name) {
            ([], []) => true,
            ([Token::Any, more @ ..], _) => {
                naive(more, name) || (!name.is_empty() && naive(tokens, &name[1..]))
            }
            ([one, more @ ..], [c, rest @ ..]) => one.accepts(*c) && naive(more, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?:é]{1,8}", name in "[ab:é\n]{0,10}") {
            let pattern: Pattern = pattern.parse().expect("no set and no backslash in it");
            let chars: Vec<char> = name.chars().collect();
            prop_assert_eq!(pattern.matches(&name), naive(&pattern.tokens, &chars));
        }

        #[test]
        fn a_quoted_name_matches_itself_alone(name in "\\PC{1,40}", other in "\\PC{0,40}") {
            let quoted: String = name.chars().flat_map(|c| ['\\', c]).collect();
            let pattern: Pattern = quoted.parse().expect("every backslash quotes a character");
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,600}", name in "\\PC{0,40}") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                pattern.matches(&name);
            }
        }
    }
}
