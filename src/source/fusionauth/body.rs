//! What FusionAuth's bytes mean: `{"event": {…}}` into a [`RefreshEvent`], each body parsed once.
//!
//! Nothing is demanded but the type and, of a type that is taken, an id and an instant; `null` and `""` are the same as
//! absent; unknown members are skipped (releases add them). A wrong type names the member, never its value.

use serde::{Deserialize, Deserializer, de::MapAccess};

use super::{keep::Keep, types::is_known};
use crate::{
    event::{
        AccessTokens, ApplicationId, Device, EventId, Grant, IdTokens, Outcome, RefreshEvent, RefreshTokens,
        SessionId, TenantId, Token, Tokens, UserId, normalise_id,
    },
    host::client_address,
    secret::Fingerprinter,
    source::{
        Decoded, SourceError,
        claims::{Secrets, longer_than},
        json::{Number, Object, Text, Value, mend, object, read, text, too_deep},
    },
    time::EventTime,
};

mod place;

/// Characters of any id.
const ID_CHARS_MAX: usize = 128;
/// Bytes of an address that is none.
const IP_BYTES_MAX: usize = 64;
/// Bytes of a user agent: what common web servers take as a header line.
const USER_AGENT_BYTES_MAX: usize = 8 * 1_024;
/// Bytes of each text about the device.
const DEVICE_BYTES_MAX: usize = 1_024;
/// Characters of a type that is named in a log.
const KIND_CHARS_SHOWN: usize = 64;
/// Named in the place of what is, or may be, a token.
const NOT_SHOWN: &str = "(not shown: it may be a token)";

/// The type in which `refreshToken` is the token itself; elsewhere it is an object around it.
const JWT_REFRESH: &str = "jwt.refresh";
/// How the types of the events about a person begin.
const ABOUT_A_USER: &str = "user.";

object! {
    /// The wrapper.
    Body at "" { "event" => event: Event }
}

object! {
    /// The wrapper, of whose event only the type is asked.
    OnlyType at "" { "event" => event: Typed }
}

object! {
    /// See [`OnlyType`].
    Typed at "event." { "type" => kind: Value }
}

object! {
    /// The members of any event that matter to a refresh.
    Event at "event." {
        "type" => kind: Value, "id" => id: Value, "createInstant" => create_instant: Number,
        "tenantId" => tenant_id: Value, "applicationId" => application_id: Value, "userId" => user_id: Value,
        "linkedObjectId" => linked_object_id: Value, "original" => original: Value, "token" => token: Value,
        "refreshToken" => refresh_token: RefreshToken, "info" => info: Info, "user" => user: User,
    }
}

object! {
    /// The person, in the events about them; nothing else of it is read.
    User at "event.user." { "id" => id: Value }
}

object! {
    /// A string in `jwt.refresh`, an object in `jwt.refresh-token.revoke`.
    RefreshToken at "event.refreshToken." { "token" => token: Value, "id" => id: Value }
}

object! {
    /// Where the request came from, as its caller or FusionAuth says.
    Info at "event.info." {
        "ipAddress" => ip_address: Value, "userAgent" => user_agent: Value, "deviceName" => device_name: Value,
        "deviceType" => device_type: Value, "deviceDescription" => device_description: Value, "os" => os: Value,
        "location" => location: Place,
    }
}

object! {
    /// `info.location`.
    Place at "event.info.location." {
        "city" => city: Value, "country" => country: Value, "region" => region: Value, "zipcode" => zipcode: Value,
        "latitude" => latitude: Value, "longitude" => longitude: Value, "displayString" => display_string: Value,
    }
}

fn unreadable<T>(field: &str, problem: impl Into<String>) -> Result<T, SourceError> {
    Err(SourceError::Unreadable { field: field.to_owned(), problem: problem.into() })
}

/// Reads one body.
pub(super) fn decode(
    body: &[u8],
    taken: &[String],
    keep: &Keep,
    fingerprints: &Fingerprinter,
) -> Result<Decoded, SourceError> {
    let text = text(body);
    let marked = matches!(text, Text::Copied(_));
    let mended;
    let (text, event) = match event(&text) {
        Ok(event) => (&*text, event),
        Err(error) => {
            // Of a type that is not taken nothing else has to be readable.
            if let Some(kind) = kind_of(&text).filter(|kind| !taken.contains(kind)) {
                expect_whole(&kind, "event.type", marked)?;
                // What tokens there are cannot be told.
                return Ok(ignored(if is_known(&kind) { &kind } else { NOT_SHOWN }));
            }
            mended = mend(&text).ok_or(error)?;
            (&**mended, self::event(&mended)?)
        }
    };
    let Some(kind) = string(&event.kind, "event.type")? else { return unreadable("event.type", "is missing") };
    if event.twice.contains(&"event.type") {
        return unreadable("event.type", "stands there twice");
    }
    expect_whole(kind, "event.type", marked)?;
    if !taken.iter().any(|taken| taken == kind) {
        return Ok(ignored(if tokens_of(&event).in_text(kind) { NOT_SHOWN } else { kind }));
    }
    let mut made = refresh_event(&event, (kind, marked), fingerprints, |secrets| keep.pick(text, secrets))?;
    made.session_id = session(&made.tokens).or(made.session_id);
    Ok(Decoded::Event(Box::new(made)))
}

/// What stands in the place of bytes that are no UTF-8 (`marked`: where there are any) is the same for all of them, and so
/// tells no two ids apart.
fn expect_whole(text: &str, field: &str, marked: bool) -> Result<(), SourceError> {
    match marked && text.contains(char::REPLACEMENT_CHARACTER) {
        true => unreadable(field, "is not UTF-8"),
        false => Ok(()),
    }
}

/// The tokens of an event of any type, as far as they are texts.
fn tokens_of<'e>(event: &'e Event<'_>) -> Secrets<'e> {
    let refresh = event.refresh_token.as_ref();
    let refresh = refresh.into_iter().flat_map(|refresh| [Some(&refresh.shape), refresh.token.as_ref()]);
    let all = [event.original.as_ref(), event.token.as_ref()].into_iter().chain(refresh).flatten();
    Secrets::new(all.filter_map(|value| if let Value::Text(text) = value { Some(&**text) } else { None }))
}

fn ignored(kind: &str) -> Decoded {
    Decoded::Ignored { kind: kind.chars().take(KIND_CHARS_SHOWN).collect() }
}

/// The event's type alone, whatever stands beside it; none where that cannot be told.
fn kind_of(text: &str) -> Option<String> {
    let body: OnlyType<'_> = serde_json::from_str(text).ok()?;
    let event = body.event.filter(|event| body.twice.is_empty() && event.twice.is_empty())?;
    string(&event.kind, "event.type").ok()?.map(str::to_owned)
}

/// The event inside its wrapper.
fn event(text: &str) -> Result<Event<'_>, SourceError> {
    if too_deep(text) {
        return unreadable("body", "nests too deep");
    }
    let body: Body<'_> = serde_json::from_str(text).or_else(|error| {
        unreadable("body", format!("is not JSON (at line {}, column {})", error.line(), error.column()))
    })?;
    if !matches!(body.shape, Value::Object) {
        return unreadable("body", "must be an object");
    }
    if !body.twice.is_empty() {
        return unreadable("event", "stands there twice");
    }
    match body.event {
        None => unreadable("event", "is missing"),
        Some(event) if matches!(event.shape, Value::Object) => Ok(event),
        Some(_) => unreadable("event", "must be an object"),
    }
}

fn refresh_event(
    event: &Event<'_>,
    (kind, marked): (&str, bool),
    fingerprints: &Fingerprinter,
    kept: impl FnOnce(&Secrets<'_>) -> Vec<(String, serde_json::Value)>,
) -> Result<RefreshEvent, SourceError> {
    let (info, place) = parts(event)?;
    let occurred_at = instant(&event.create_instant)?;
    let original = string(&event.original, "event.original")?;
    let token = string(&event.token, "event.token")?;
    let refresh = refresh_token(event, kind)?;
    let secrets = Secrets::new([original, token, refresh].into_iter().flatten());
    let read = Reader { secrets: &secrets, marked };
    let Some(id) = read.id(&event.id, "event.id")? else {
        let is_there = string(&event.id, "event.id")?.is_some();
        return unreadable("event.id", if is_there { "holds a token" } else { "is missing" });
    };
    let linked = read.id(&event.linked_object_id, "event.linkedObjectId")?;
    let fingerprint = |raw: Option<&str>| raw.map(|raw| secrets.token(raw, fingerprints));
    Ok(RefreshEvent {
        id: EventId::new(id),
        kind: kind.to_owned(),
        occurred_at,
        outcome: Outcome::Attempted,
        tenant_id: read.id(&event.tenant_id, "event.tenantId")?.map(TenantId::new),
        application_id: read.id(&event.application_id, "event.applicationId")?.map(ApplicationId::new),
        user_id: read.user(event, kind, linked.as_deref())?.map(UserId::new),
        session_id: read.revoked(event, kind)?.map(SessionId::new),
        linked_object_id: linked.map(normalise_id),
        ip: info.map(|info| read.ip(info)).transpose()?.flatten(),
        user_agent: info.map(|info| read.user_agent(info)).transpose()?.flatten(),
        device: info.map(|info| read.device(info)).transpose()?.filter(|device| !device.is_empty()),
        location: place.map(|place| read.location(place)).transpose()?.flatten(),
        network: None,
        client: None,
        tokens: Tokens {
            refresh: RefreshTokens { presented: fingerprint(refresh), issued: None },
            access: AccessTokens { previous: fingerprint(original), issued: fingerprint(token) },
            id: IdTokens::default(),
        },
        rotated: None,
        grant: Grant::default(),
        failure: None,
        correlation_id: None,
        vendor_risk: None,
        kept: kept(&secrets).into_iter().collect(),
    })
}

/// `info` and `info.location`, where they are there; no member of any of them may stand there twice.
fn parts<'e, 'a>(event: &'e Event<'a>) -> Result<(Option<&'e Info<'a>>, Option<&'e Place<'a>>), SourceError> {
    let info = nested(event.info.as_ref(), |info| &info.shape, "event.info")?;
    let location = info.and_then(|info| info.location.as_ref());
    let place = nested(location, |place| &place.shape, "event.info.location")?;
    let lists = [
        Some(&event.twice),
        event.refresh_token.as_ref().map(|token| &token.twice),
        event.user.as_ref().map(|user| &user.twice),
        info.map(|info| &info.twice),
        place.map(|place| &place.twice),
    ];
    match lists.into_iter().flatten().flatten().next() {
        Some(twice) => unreadable(twice, "stands there twice"),
        None => Ok((info, place)),
    }
}

fn nested<'e, 'a: 'e, T>(
    member: Option<&'e T>,
    shape: impl Fn(&'e T) -> &'e Value<'a>,
    field: &str,
) -> Result<Option<&'e T>, SourceError> {
    match member.map(|member| (member, shape(member))) {
        Some((member, Value::Object)) => Ok(Some(member)),
        None | Some((_, Value::Null)) => Ok(None),
        Some(_) => unreadable(field, "must be an object"),
    }
}

fn refresh_token<'e>(event: &'e Event<'_>, kind: &str) -> Result<Option<&'e str>, SourceError> {
    match event.refresh_token.as_ref().map(|token| (&token.shape, token)) {
        Some((Value::Object, token)) if kind != JWT_REFRESH => string(&token.token, "event.refreshToken.token"),
        Some((Value::Text(text), _)) => Ok(Some(&**text).filter(|text| !text.is_empty())),
        None | Some((Value::Null, _)) => Ok(None),
        Some(_) => unreadable("event.refreshToken", "must be a string"),
    }
}

/// The session both tokens belong to; the issued one knows best.
fn session(tokens: &Tokens) -> Option<SessionId> {
    let sid = |token: &Option<Token>| token.as_ref()?.claims.as_ref()?.sid.clone();
    sid(&tokens.access.issued).or_else(|| sid(&tokens.access.previous)).map(SessionId::new)
}

fn instant(member: &Option<Number<'_>>) -> Result<EventTime, SourceError> {
    const FIELD: &str = "event.createInstant";
    match member.as_ref().map(|Number(value)| value) {
        Some(Value::Integer(millis)) => EventTime::from_millis(*millis)
            .map_or_else(|| unreadable(FIELD, "must be in the years 0001 to 9999, in milliseconds since 1970"), Ok),
        None | Some(Value::Null) => unreadable(FIELD, "is missing"),
        Some(_) => unreadable(FIELD, "must be an integer: milliseconds since 1970"),
    }
}

/// A string with something in it.
fn string<'e>(member: &'e Option<Value<'_>>, field: &str) -> Result<Option<&'e str>, SourceError> {
    match member {
        Some(Value::Text(text)) => Ok(Some(&**text).filter(|text| !text.is_empty())),
        None | Some(Value::Null) => Ok(None),
        Some(_) => unreadable(field, "must be a string"),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads what is stored as it is, and leaves out what holds a secret of the same body.
struct Reader<'s, 'a> {
    secrets: &'s Secrets<'a>,
    /// See [`expect_whole`].
    marked: bool,
}

impl Reader<'_, '_> {
    fn id(&self, member: &Option<Value<'_>>, field: &str) -> Result<Option<String>, SourceError> {
        let id = string(member, field)?;
        if id.is_some_and(|id| longer_than(id, ID_CHARS_MAX)) {
            return unreadable(field, "must have at most 128 characters");
        }
        let id = id.filter(|id| !self.secrets.in_text(id));
        id.map_or(Ok(()), |id| expect_whole(id, field, self.marked))?;
        Ok(id.map(str::to_owned))
    }

    /// Whose event it is. The events about a person (`user.deactivate`) have no `userId`: they hold the user, and since
    /// FusionAuth 1.53 `linkedObjectId`, which is the same id (`BaseUserEvent.getLinkedObjectId` of its Java client).
    fn user(&self, event: &Event<'_>, kind: &str, linked: Option<&str>) -> Result<Option<String>, SourceError> {
        if let Some(id) = self.id(&event.user_id, "event.userId")? {
            return Ok(Some(id));
        }
        let user = nested(event.user.as_ref(), |user| &user.shape, "event.user")?;
        let id = user.map(|user| self.id(&user.id, "event.user.id")).transpose()?.flatten();
        Ok(id.or_else(|| linked.filter(|_| kind.starts_with(ABOUT_A_USER)).map(str::to_owned)))
    }

    /// The session that an event about a refresh token is of: the token's own id, which access tokens name as `sid`
    /// (FusionAuth 1.37).
    fn revoked(&self, event: &Event<'_>, kind: &str) -> Result<Option<String>, SourceError> {
        match event.refresh_token.as_ref().filter(|token| kind != JWT_REFRESH && matches!(token.shape, Value::Object)) {
            Some(token) => self.id(&token.id, "event.refreshToken.id"),
            None => Ok(None),
        }
    }

    /// At most `bytes_max` of it, cut between two characters.
    fn text(&self, member: &Option<Value<'_>>, field: &str, bytes_max: usize) -> Result<Option<String>, SourceError> {
        let text = string(member, field)?.filter(|text| !self.secrets.in_text(text));
        Ok(text.map(|text| cut(text, bytes_max).to_owned()))
    }

    /// An address in its one canonical form, less what a proxy or a server writes around it; other text as it is.
    fn ip(&self, info: &Info<'_>) -> Result<Option<String>, SourceError> {
        const FIELD: &str = "event.info.ipAddress";
        // Of the whole text: half of an address may be another one.
        let address = string(&info.ip_address, FIELD)?.and_then(client_address);
        let text = self.text(&info.ip_address, FIELD, IP_BYTES_MAX)?;
        Ok(text.map(|text| address.map_or(text, |address| address.to_string())))
    }

    fn user_agent(&self, info: &Info<'_>) -> Result<Option<String>, SourceError> {
        self.text(&info.user_agent, "event.info.userAgent", USER_AGENT_BYTES_MAX)
    }

    fn device(&self, info: &Info<'_>) -> Result<Device, SourceError> {
        Ok(Device {
            name: self.text(&info.device_name, "event.info.deviceName", DEVICE_BYTES_MAX)?,
            kind: self.text(&info.device_type, "event.info.deviceType", DEVICE_BYTES_MAX)?,
            description: self.text(&info.device_description, "event.info.deviceDescription", DEVICE_BYTES_MAX)?,
            os: self.text(&info.os, "event.info.os", DEVICE_BYTES_MAX)?,
        })
    }
}
