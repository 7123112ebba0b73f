-- What has been applied to this database. Written after the statements of a version, so a version that was
-- interrupted is applied again: what exists already is left alone.
CREATE TABLE Migrations (
  Version INT64 NOT NULL,
  Done TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
) PRIMARY KEY (Version);

-- Records of all kinds. `Tbl` is the number of the kind, `Part` and `Key` are what the contract calls partition and
-- key. One table and not one for each kind: what a transaction looks at is then one read.
CREATE TABLE Records (
  Tbl INT64 NOT NULL,
  Part STRING(MAX) NOT NULL,
  Key STRING(MAX) NOT NULL,
  Ts TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  Ord INT64 NOT NULL,
  Owner STRING(MAX),
  Body BYTES(MAX) NOT NULL,
) PRIMARY KEY (Tbl, Part, Key);

CREATE NULL_FILTERED INDEX RecordsByOwner ON Records (Owner, Tbl, Part, Key);

-- The changes of objects: the truth for watches. The row with the empty scope is the floor: its `Kind` is the revision
-- below which nothing is kept. It stands here so that a tail and its floor are one read.
CREATE TABLE Log (
  Scope STRING(MAX) NOT NULL,
  Ts TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  Ord INT64 NOT NULL,
  Kind INT64 NOT NULL,
  Key STRING(MAX) NOT NULL,
  Body BYTES(MAX) NOT NULL,
  Prev BYTES(MAX),
) PRIMARY KEY (Scope, Ts, Ord);

-- Written blindly by every transaction that changes objects of a tenant: commit timestamps of transactions that write
-- the same cell differ, others may be equal.
CREATE TABLE Heads (
  Tenant STRING(MAX) NOT NULL,
  Ts TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
) PRIMARY KEY (Tenant);

-- Transactions by request id. Only ever inserted, so that of a commit and of its being given up one fails. `Ords` is
-- NULL for what was given up, else two bytes for each op.
CREATE TABLE Requests (
  Id STRING(32) NOT NULL,
  Ts TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  Ords BYTES(MAX),
) PRIMARY KEY (Id);

CREATE TABLE Counters (
  Name STRING(MAX) NOT NULL,
  Value INT64 NOT NULL,
) PRIMARY KEY (Name);

-- Which partitions a transaction wrote. Only its change stream is read; the slots are many, so that transactions do not
-- wait for one another.
CREATE TABLE Bells (
  Slot INT64 NOT NULL,
  Ts TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp=true),
  Writer STRING(32) NOT NULL,
  Rang ARRAY<STRING(MAX)> NOT NULL,
) PRIMARY KEY (Slot);

CREATE CHANGE STREAM Doorbell FOR Bells(Writer, Rang)
  OPTIONS (value_capture_type='NEW_VALUES', retention_period='1d');
