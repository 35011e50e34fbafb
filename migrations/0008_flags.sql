-- Degradation flags (DESIGN §9): what is set now, and who changed what, when and why. The functions are
-- there for whoever has nothing but SQL at hand, and do what the library does.

-- At most 256 rows a namespace. '' is all of them.
create table lockstep.flags (
  namespace text not null,
  flag text not null,
  entity text not null default '',
  instance text not null default '',
  change_id bigint not null,
  reason text not null,
  author text not null,
  set_by text not null,
  set_at timestamptz not null,
  until timestamptz not null,
  primary key (namespace, flag, entity, instance)
);

-- Only appended to; what is older than 90 days goes with the next change.
create table lockstep.flag_changes (
  change_id bigint generated always as identity primary key,
  namespace text not null,
  flag text not null,
  entity text not null default '',
  instance text not null default '',
  reason text not null,
  author text not null,
  set_by text not null check (set_by in ('operator', 'slo')),
  changed_at timestamptz not null default clock_timestamp(),
  -- None: it was unset.
  until timestamptz
);

create index flag_changes_newest on lockstep.flag_changes (namespace, change_id desc);

-- What it applies, by its own word.
alter table lockstep.instances add column flags text[] not null default '{}';

-- One change of a namespace at a time, so that they have an order; its number.
create function lockstep.begin_flag_change(namespace text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform from lockstep.namespaces n where n.name = namespace for no key update;
  if not found then
    raise exception 'no cache has the namespace "%"', namespace
      using errcode = 'invalid_parameter_value',
        hint = 'A namespace is known from the first start of a cache that has it.';
  end if;
  delete from lockstep.flags f where f.namespace = namespace and f.until <= clock_timestamp();
  delete from lockstep.flag_changes c
  where c.namespace = namespace and c.changed_at < clock_timestamp() - interval '90 days';
end
$$;

-- Sets a flag, or sets it anew; the number of the change.
create function lockstep.set_flag(
  namespace text, flag text, lasts interval, reason text, author text default session_user,
  entity text default '', instance text default '', set_by text default 'operator'
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  changed lockstep.flag_changes;
begin
  if lasts is null or lasts <= interval '0' or lasts > interval '7 days' then
    raise exception 'lockstep.set_flag: a flag that lasts up to 7 days would do'
      using errcode = 'invalid_parameter_value';
  end if;
  perform lockstep.begin_flag_change(namespace);
  insert into lockstep.flag_changes (namespace, flag, entity, instance, reason, author, set_by, until)
  values (namespace, flag, entity, instance, reason, author, set_by, clock_timestamp() + lasts)
  returning * into changed;
  insert into lockstep.flags as f
    (namespace, flag, entity, instance, change_id, reason, author, set_by, set_at, until)
  values (namespace, flag, entity, instance, changed.change_id, reason, author, set_by,
    changed.changed_at, changed.until)
  on conflict on constraint flags_pkey do update set change_id = excluded.change_id,
    reason = excluded.reason, author = excluded.author, set_by = excluded.set_by,
    set_at = excluded.set_at, until = excluded.until;
  if (select count(*) from lockstep.flags f where f.namespace = namespace) > 256 then
    raise exception 'lockstep.set_flag: 256 flags are set in namespace "%"; unset some', namespace
      using errcode = 'invalid_parameter_value';
  end if;
  return changed.change_id;
end
$$;

-- Whether it was set.
create function lockstep.unset_flag(
  namespace text, flag text, reason text, author text default session_user,
  entity text default '', instance text default '', set_by text default 'operator'
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
  perform lockstep.begin_flag_change(namespace);
  delete from lockstep.flags f
  where f.namespace = namespace and f.flag = flag and f.entity = entity and f.instance = instance;
  if not found then
    return false;
  end if;
  insert into lockstep.flag_changes (namespace, flag, entity, instance, reason, author, set_by)
  values (namespace, flag, entity, instance, reason, author, set_by);
  return true;
end
$$;

revoke execute on all functions in schema lockstep from public;
