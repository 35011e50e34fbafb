-- lockstep.invalidate(entity, id): the outbox row for any transaction, whoever writes it.

-- Nobody tells Redis of such a row but those who claim rows, so they need not leave it to its writer.
alter table lockstep.outbox add column told_by_writer boolean not null default true;

-- Writes one row a namespace that has the entity; the number of namespaces.
--
-- The lock is shared by all who call this, and taken alone by whoever registers an entity
-- (src/postgres/namespace.ts): so a namespace that isn't found here has loaded nothing yet that this
-- transaction writes. Each statement of plpgsql has its own snapshot in READ COMMITTED, taken after
-- the lock.
create function lockstep.invalidate(entity text, ids text[], namespace text default null)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  namespaces integer;
begin
  if entity is null or ids is null or array_position(ids, null) is not null then
    raise exception 'lockstep.invalidate: an entity and ids would do, not null'
      using errcode = 'null_value_not_allowed';
  end if;
  if exists (select from unnest(ids) as one (id) where one.id = '' or length(one.id) > 512) then
    raise exception 'lockstep.invalidate: ids of 1 to 512 characters would do'
      using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock_shared(7813590610137310577);
  with told as (
    select distinct v.namespace from lockstep.schema_versions v
    where v.entity = entity and (namespace is null or v.namespace = namespace)
  ), numbered as (
    select one.id, (row_number() over () - 1) / 1000 as part
    from (select distinct unnest(ids) as id) as one
  ), parts as (
    select array_agg(n.id) as ids from numbered n group by n.part
  ), recorded as (
    insert into lockstep.outbox (namespace, entity, ids, told_by_writer)
    select t.namespace, entity, p.ids, false from told t, parts p
  )
  select count(*) into namespaces from told;
  if namespaces = 0 and exists (select from lockstep.namespaces) then
    raise exception 'lockstep.invalidate: no cache has an entity "%"%', entity,
        coalesce(' in a namespace "' || namespace || '"', '')
      using errcode = 'invalid_parameter_value',
        hint = 'An entity is known from the first start of a cache that has it.';
  end if;
  return namespaces;
end
$$;

create function lockstep.invalidate(entity text, id text, namespace text default null) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$ select lockstep.invalidate(entity, array[id], namespace) $$;

create function lockstep.invalidate(entity text, id bigint, namespace text default null) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$ select lockstep.invalidate(entity, array[id::text], namespace) $$;

create function lockstep.invalidate(entity text, ids bigint[], namespace text default null) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$ select lockstep.invalidate(entity, ids::text[], namespace) $$;

create function lockstep.invalidate(entity text, id uuid, namespace text default null) returns integer
language sql security definer set search_path = pg_catalog, pg_temp
as $$ select lockstep.invalidate(entity, array[id::text], namespace) $$;

revoke execute on all functions in schema lockstep from public;

-- It locks its table, which no role but the owner needs to be able to do.
alter function lockstep.begin_incarnation() security definer set search_path = pg_catalog, pg_temp;
