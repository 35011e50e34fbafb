-- Who runs, and what they have acted on: a write may wait until nobody serves what it replaced.

create table lockstep.instances (
  namespace text not null,
  instance text not null,
  -- Told only while somebody waits.
  incarnation text,
  acted_on pg_snapshot,
  -- One that ended without a word is forgotten a while after this.
  seen_at timestamptz not null default clock_timestamp(),
  primary key (namespace, instance)
);

alter table lockstep.namespaces add column waited_until timestamptz not null default '-infinity';
