//! A gateway of several Homes: one [`App`] for each Home that it may hold, so that nothing of one Home (store, caches,
//! watches) is ever in another one's hands; for the rest it says where to go, before it reads the request's body.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::status::{Reason, Status};
use http::{HeaderValue, StatusCode, Uri, header};
use store::homes::Found;
use tenancy::id::{HomeId, TenantId};

use crate::answer::{self, Outcome, Refused};
use crate::app::App;

/// The Homes of a gateway.
pub struct Homes {
    directory: store::homes::Homes,
    apps: BTreeMap<HomeId, Arc<App>>,
}

/// Who answers a request.
pub(crate) enum Way {
    /// The Home's own part of this gateway.
    Here(Arc<App>),
    /// Somebody else; this is what the client is told.
    Elsewhere(Outcome),
}

impl Homes {
    /// A gateway that serves these Homes.
    pub fn new(directory: store::homes::Homes, apps: BTreeMap<HomeId, Arc<App>>) -> Arc<Self> {
        Arc::new(Self { directory, apps })
    }

    /// Who answers a request of a tenant.
    ///
    /// # Errors
    /// 404 of a tenant that there is not, 503 when the directory is away.
    pub(crate) async fn way(&self, tenant: &TenantId, uri: &Uri) -> Result<Way, Refused> {
        let found = self.directory.find(tenant).await.map_err(|error| answer::read_failed(&error))?;
        let (home, gateway) = match found {
            Found::Here(home) => match self.apps.get(&home) {
                Some(app) => return Ok(Way::Here(app.clone())),
                None => (home, None),
            },
            Found::Elsewhere { home, gateway } => (home, gateway),
            Found::Nowhere => return Err(Box::new(Status::no_such_path())),
        };
        Ok(Way::Elsewhere(Ok(elsewhere(&home, gateway.as_deref(), uri))))
    }
}

/// 307 to a gateway of the Home, or 421 where none is known.
fn elsewhere(home: &HomeId, gateway: Option<&str>, uri: &Uri) -> http::Response<axum::body::Body> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = gateway.map(|gateway| format!("{}{path}", gateway.trim_end_matches('/')));
    let way_out = match gateway {
        Some(gateway) => format!("use {gateway}"),
        None => "use a gateway of that jurisdiction".to_owned(),
    };
    let message = format!(
        "the tenant lives in jurisdiction {home}, whose data this gateway may not hold; nothing of the request was read: {way_out}"
    );
    let mut status = Status::failure(Reason::Unknown, message);
    let location = location.and_then(|location| HeaderValue::from_str(&location).ok());
    let code =
        if location.is_some() { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::MISDIRECTED_REQUEST };
    status.code = code.as_u16();
    let mut response = answer::refusal(&status);
    response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    response
}
