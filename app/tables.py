"""Every table, imported so that the migrations and the tests of the whole see all of them."""

from app.audit import models as audit
from app.auth.api_keys import models as api_keys
from app.auth.devices import models as devices
from app.auth.mfa import models as mfa
from app.auth.oauth import models as oauth
from app.auth.registration import models as registration
from app.auth.saml import models as saml
from app.auth.sessions import models as sessions
from app.core.db import Base
from app.insights.analytics import models as analytics
from app.insights.segments import models as segments
from app.jobs import models as jobs
from app.jobs.batches import models as batches
from app.ledger.accounts import models as accounts
from app.ledger.budgets import models as budgets
from app.ledger.categories import models as categories
from app.ledger.imports import models as imports
from app.ledger.transactions import models as transactions
from app.people import models as people

MODULES = (
    accounts, analytics, api_keys, audit, batches, budgets, categories, devices, imports, jobs, mfa, oauth, people,
    registration, saml, segments, sessions, transactions,
)  # fmt: skip
metadata = Base.metadata
