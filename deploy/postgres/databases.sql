-- Runs once, as the superuser, when PostgreSQL starts on an empty volume. The owners keep to their own databases; what
-- runs for the application connects as counteract_app, whose rights `counteract migrate` sets.
\getenv owner_password COUNTERACT_OWNER_PASSWORD
\getenv counteract_password COUNTERACT_DB_PASSWORD
\getenv temporal_password TEMPORAL_DB_PASSWORD

create role counteract login password :'owner_password';
create role counteract_app login password :'counteract_password';
create role temporal login password :'temporal_password';

create database counteract owner counteract;
create database temporal owner temporal;
create database temporal_visibility owner temporal;

-- As `counteract migrate` would set it, if its role might create roles.
alter role counteract_app set idle_in_transaction_session_timeout = '30s';

-- Owners keep what everybody loses.
revoke all on database counteract, temporal, temporal_visibility, postgres, template1 from public;
