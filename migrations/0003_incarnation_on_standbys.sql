-- The incarnation as a standby can read it: unlogged tables are not replicated. A standby whose row
-- names another incarnation than the primary's follows another server, or has yet to replay how this
-- life of the primary began; its xids say nothing about the primary's.

create table lockstep.last_incarnation (
  only_row boolean primary key default true check (only_row),
  id text not null
);

create function lockstep.replicate_incarnation() returns trigger
language plpgsql as $$
begin
  insert into lockstep.last_incarnation (id) values (new.id)
  on conflict (only_row) do update set id = excluded.id;
  return null;
end
$$;

create trigger replicate_incarnation after insert or update on lockstep.incarnations
for each row execute function lockstep.replicate_incarnation();

insert into lockstep.last_incarnation (id) select id from lockstep.incarnations;
