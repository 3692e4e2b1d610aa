SELECT 1

select * from orders

SELECT DISTINCT customer_id FROM orders WHERE placed_at >= '2026-01-01' AND placed_at < '2026-02-01'

select o.id, c.name from orders o join customers c on c.id = o.customer_id where o.state in ('new', 'paid') order by o.id limit 20

select count(*), sum(total), avg(total), min(total), max(total) from orders group by customer_id having count(*) > 5

select sql_no_cache straight_join a.x from a straight_join b on a.id = b.id

select * from orders use index (by_date) where placed_at = '2026-01-01'

select * from orders force index for order by (by_date) ignore index (primary) order by placed_at

select * from orders partition (p2025, p2026) where id = 5

select * from t where a = 1 for update of t skip locked

select * from t where a = 1 lock in share mode

select id into @found from t where a = 'x' limit 1

select a, b into @a, @b from t limit 1

select * from t into outfile '/tmp/t.csv' fields terminated by ',' enclosed by '"' lines terminated by '\n'

select if(a > 5, 'big', 'small') from t

select case state when 1 then 'a' when 2 then 'b' else 'c' end from t

select cast(a as decimal(10, 2)), convert(b, unsigned), convert(c using utf8mb4) from t

select concat_ws(',', a, b, 'x'), group_concat(distinct a order by b desc separator ';') from t

select date_add(now(), interval 1 day), date_sub(a, interval '1:30' hour_minute), adddate(a, 5), a + interval 2 week from t

select extract(year_month from placed_at), dayname(placed_at), date_format(placed_at, '%Y-%m') from orders

select timestampdiff(minute, a, b), timestampadd(second, 5, a), unix_timestamp(), from_unixtime(5) from t

select substring(a from 2 for 3), substr(a, 1), mid(a, 2, 3), trim(leading 'x' from a), trim(both from a), position('x' in a) from t

select a div 2, a mod 3, a % 4, a ^ 5, a | 6, a & 7, ~a, a << 1, a >> 2 from t

select a xor b, not a, !a, a && b, a and b, a or b from t

select a between 1 and 5, a not between 2 and 6, a is null, a is not null, a <=> null from t

select a like 'x%' escape '!', a not like 'y%', a regexp '^x', a rlike 'y$', a sounds like 'z' from t

select exists (select 1 from t where a = 5), (select max(b) from u), a = any (select b from u), a > all (select b from u), a <> some (select c from v) from t

select json_extract(doc, '$.a'), doc->'$.b', doc->>'$.c', json_object('a', 1, 'b', b), json_array(1, 2, a) from t

select 5 member of ('[1, 5]'), json_overlaps(a, '[1]'), json_value(a, '$.x' returning unsigned) from t

select j.* from t, json_table(t.doc, '$[*]' columns (id for ordinality, a int path '$.a', b varchar(10) path '$.b' default '0' on empty)) as j

select match (title, body) against ('+kafka -zookeeper' in boolean mode) from articles

select match (title) against ('failover' with query expansion) from articles

select st_distance(point(1, 2), geo), st_geomfromtext('POINT(1 1)') from t

select row_number() over (partition by a order by b), rank() over w, sum(c) over (rows between 1 preceding and current row) from t window w as (order by a)

select lag(a, 1, 0) over (order by b), first_value(a) over (order by b rows unbounded preceding), ntile(4) over (order by a) from t

with x as (select a from t where b = 5) select * from x join x as y using (a)

with recursive n (i) as (select 1 union all select i + 1 from n where i < 10) select * from n

select a from t union select b from u union all select c from v order by a limit 10

(select a from t limit 5) union (select b from u limit 6) limit 7

select a from t intersect select b from u

select a from t except select b from u

select * from (select a, b from t where c = 1) as d where d.a = 2

select * from t, lateral (select * from u where u.a = t.a limit 3) as l

select * from (values row(1, 2), row(3, 4)) as v

values row(1, 'a'), row(2, 'b')

table orders order by id limit 10

select @@version, @@global.read_only, @@session.sql_mode, @@local.autocommit

select @a, @b := 5, @`c d`, @'e'

select _utf8mb4'x' collate utf8mb4_bin, _binary 'y', n'z', x'41', 0x41, b'1', 0b1

select 'a' 'b' 'c', 'it''s', "double ""quoted""", 'back\'slash'

select date '2026-01-01', time '10:00:00', timestamp '2026-01-01 10:00:00', {d '2026-01-01'}, {ts '2026-01-01 00:00:00'}

select true, false, null, unknown_column, default(a) from t

select 1e5, 1.5e-3, .5, 5., -5, +5, - 5, --5, 1 - -1, 1-1, a-1

select /* a comment */ 1 -- to the end
 + 2 # and this

select /*!50000 1, */ 2, /*!99999 3, */ 4

select /*+ no_merge(t) index(t by_a) */ a from t

select distinct a from t where (a, b) in ((1, 2), (3, 4)) and c in (5) and d in (6, 7) and e not in (8, 9, 10)

select benchmark(100, md5('x')), sleep(0), get_lock('l', 1), release_lock('l'), uuid(), rand(5), version(), database(), user(), current_user(), connection_id()

select current_date, current_time, current_timestamp, localtime, localtimestamp, utc_date, utc_time, utc_timestamp, now(6), curdate(), curtime(), sysdate()

select left(a, 5), right(b, 5), repeat('x', 3), replace(a, 'x', 'y'), insert(a, 1, 2, 'z'), char(65, 66 using utf8mb4), ascii('a'), format(1.5, 1) from t

select std(a), stddev(a), variance(b), bit_and(c), bit_or(c), bit_xor(c), count(distinct a, b), json_arrayagg(a), json_objectagg(a, b), any_value(c), grouping(a) from t group by a with rollup

select weight_string(a as char(5)), charset(a), collation(b), coercibility(c) from t

insert into t values (1, 'a')

insert into t values (1, 'a'), (2, 'b'), (3, 'c')

insert into t (a, b, c) values (1, now(), default), (2, now(), default)

insert into t set a = 1, b = 'x'

insert ignore into t (a) values (1)

insert delayed into t values (1)

insert low_priority ignore into db1.t (a) values (-1), (-2)

insert into t (a, b) values (1, 2) as new on duplicate key update b = new.b + 1

insert into t (a, b) values (1, 2) on duplicate key update b = values(b), c = c + 1

insert into t select * from u where a = 5

insert into t (a, b) select a, count(*) from u group by a on duplicate key update b = 5

insert into t partition (p0) values (1)

insert into t () values ()

insert into t values (1, (select max(a) from u), concat('x', 'y'))

insert into t values row(1, 2), row(3, 4)

replace into t values (1, 2)

replace into t (a, b) select a, b from u

replace t set a = 1

update t set a = 1

update t set a = a + 1, b = 'x' where id = 5 order by id limit 10

update low_priority ignore t set a = null where b is null

update t join u on t.id = u.id set t.a = u.b where u.c > 5

update t, u set t.a = 1, u.b = 2 where t.id = u.id

update t set doc = json_set(doc, '$.a', 5), b = (select max(c) from u) where id in (1, 2, 3)

with x as (select 1 as id) update t join x using (id) set a = 5

delete from t

delete from t where id = 5

delete low_priority quick ignore from t where a in (1, 2) order by b limit 100

delete t from t join u on t.id = u.id where u.a = 5

delete from t, u using t join u using (id) where t.a = 1

delete from t partition (p0) where a = 1

delete from t as x where x.a = 1

truncate table t

truncate t

load data infile '/tmp/x.csv' into table t fields terminated by ',' ignore 1 lines (a, b, @c) set c = @c * 2

load data local infile 'x.csv' replace into table t character set utf8mb4 lines terminated by '\r\n'

do sleep(0), 1 + 1

call p()

call db1.p(1, 'x', @out)

handler t open as h

handler h read by_a = (5) where b > 3 limit 2

handler h read next

handler h close

begin

start transaction

start transaction read only, with consistent snapshot

commit

commit and chain no release

rollback

savepoint s1

rollback to savepoint s1

rollback work to s1

release savepoint s1

set autocommit = 0

set session transaction isolation level read committed

set global transaction read only

set names utf8mb4 collate utf8mb4_general_ci

set character set utf8mb4

set global max_connections = 500, session sql_mode = 'ANSI', @@session.wait_timeout = 10

set persist innodb_buffer_pool_size = 1073741824

set @a = 1, @b := 'x', @c = @a + 1

set @@global.read_only = on

set password for 'u'@'h' = 'secret'

set role 'r1', 'r2'

set default role all to 'u'@'h'

set resource group rg

lock tables t read, u as x low_priority write

unlock tables

lock instance for backup

xa start 'gtrid', 'bqual', 5

xa end 'gtrid'

xa prepare 'gtrid'

xa commit 'gtrid' one phase

xa rollback 'gtrid'

xa recover convert xid

use shop

use `my db`

explain select * from t where a = 5

explain format=json select * from t

explain analyze select * from t where a = 5

explain for connection 17

describe t

desc t a

show tables

show full tables from shop like 'a%'

show databases

show create table t

show create view v

show columns from t

show full columns from t where field = 'a'

show index from t

show table status like 'x%'

show global status like 'Threads%'

show session variables where variable_name = 'sql_mode'

show processlist

show full processlist

show engine innodb status

show engines

show grants for 'u'@'h'

show grants for current_user()

show warnings limit 5

show errors

show count(*) warnings

show binary logs

show binary log status

show binlog events in 'binlog.000001' from 4 limit 10

show replica status for channel 'c1'

show replicas

show relaylog events

show open tables

show plugins

show privileges

show profiles

show profile cpu for query 2

show triggers

show events

show procedure status

show function status like 'x'

show character set

show collation

show create user 'u'@'h'

show create procedure p

show create event e

show create database shop

create table t (id bigint unsigned not null auto_increment primary key, a int default 5, b varchar(100) character set utf8mb4 not null default '' comment 'text', c decimal(10, 2), d datetime(6) default current_timestamp(6) on update current_timestamp(6), e enum('x', 'y'), f set('a', 'b'), g json, h text, unique key by_a (a), key by_b (b(10) desc), fulltext index ft (h), constraint fk foreign key (a) references u (id) on delete cascade on update set null, check (a > 0)) engine=InnoDB auto_increment=100 default charset=utf8mb4 row_format=dynamic comment='orders'

create table t2 like t

create table t3 as select * from t where a = 5

create temporary table if not exists tt (a int)

create table p (a int, b date) partition by range (year(b)) (partition p0 values less than (2020), partition p1 values less than maxvalue)

create table p (a int) partition by hash (a) partitions 4

create table p (a int) partition by list (a) (partition p0 values in (1, 2, 3), partition p1 values in (4))

create table g (a int, b int generated always as (a * 2) stored, c int as (a + 1) virtual)

create unique index i on t (a, b desc)

create index i on t ((a + 1)) invisible algorithm=inplace lock=none

create spatial index i on t (g)

create or replace algorithm=merge definer='u'@'h' sql security invoker view v (a, b) as select 1, 2 with cascaded check option

create database if not exists shop default character set utf8mb4 collate utf8mb4_bin

create schema s encryption='Y'

create user 'u'@'h' identified by 'secret' require ssl with max_queries_per_hour 5 password expire interval 90 day account lock

create user if not exists u1 identified with caching_sha2_password by 'x', 'u2'@'%'

create role r1, r2

create procedure p(in a int, out b varchar(10)) begin declare x int default 0; declare continue handler for not found set x = 1; if a > 5 then set b = 'x'; elseif a = 3 then set b = 'y'; else set b = 'z'; end if; while x < 5 do set x = x + 1; end while; select x; end

create function f(a int) returns int deterministic return a * 2

create trigger tr before insert on t for each row set new.a = new.b + 1

create event e on schedule every 1 hour starts '2026-01-01 00:00:00' ends '2027-01-01 00:00:00' on completion preserve disable comment 'x' do delete from t where a < now() - interval 1 day

create event e on schedule at current_timestamp + interval 1 hour do call p()

create server s foreign data wrapper mysql options (user 'u', host 'h', database 'd', port 3306)

create tablespace ts add datafile 'ts.ibd' engine=innodb

create resource group rg type = user vcpu = 0-3 thread_priority = 5

alter table t add column z int not null default 5 after a, drop column b, modify c bigint, change d dd int, rename column e to ee, add index by_z (z), drop index by_a, drop primary key, add constraint ck check (z > 5), alter column f set default 7, alter column g drop default

alter table t engine=InnoDB, algorithm=instant, lock=default

alter table t add partition (partition p9 values less than (2030))

alter table t drop partition p0, p1

alter table t reorganize partition p0 into (partition p0a values less than (5), partition p0b values less than (10))

alter table t exchange partition p0 with table u without validation

alter table t rename to tt

alter table t convert to character set utf8mb4 collate utf8mb4_bin

alter table t auto_increment = 500

alter table t discard tablespace

alter table t order by a, b

alter user 'u'@'h' identified by 'new' retain current password

alter user current_user() identified by 'x' replace 'y'

alter database shop read only = 1

alter view v as select 5

alter event e rename to e2 enable

alter instance rotate innodb master key

alter instance reload tls

drop table if exists t, u cascade

drop temporary table t

drop index i on t

drop view if exists v

drop database shop

drop user if exists 'u'@'h', u2

drop role r1

drop procedure if exists p

drop function f

drop trigger if exists tr

drop event e

drop server s

rename table t to tt, u to uu

rename user 'a'@'h' to 'b'@'h'

grant select, insert (a, b), update on shop.* to 'u'@'h' with grant option

grant all privileges on *.* to u

grant r1, r2 to 'u'@'h' with admin option

grant proxy on 'a'@'h' to 'b'@'h'

revoke insert on shop.t from 'u'@'h'

revoke all privileges, grant option from 'u'@'h'

revoke r1 from 'u'@'h'

flush privileges

flush local slow logs

flush no_write_to_binlog tables t, u with read lock

flush tables with read lock

flush binary logs

flush status, error logs

reset binary logs and gtids

reset replica all for channel 'c'

reset persist max_connections

purge binary logs to 'binlog.000005'

purge binary logs before '2026-01-01 00:00:00'

change replication source to source_host='h', source_port=3306, source_user='u', source_password='secret', source_auto_position=1 for channel 'c'

change replication filter replicate_do_db = (a, b), replicate_ignore_table = (a.t)

start replica io_thread, sql_thread until sql_before_gtids = 'uuid:1-5' user = 'u' password = 'p'

start replica

stop replica sql_thread for channel 'c'

start group_replication

stop group_replication

clone local data directory = '/tmp/clone'

clone instance from 'u'@'h':3306 identified by 'secret'

install plugin semi soname 'semisync_source.so'

uninstall plugin semi

install component 'file://component_validate_password'

kill 5

kill query 17

kill connection 18

shutdown

restart

analyze table t, u

analyze table t update histogram on a, b with 16 buckets

check table t fast quick

checksum table t, u extended

optimize no_write_to_binlog table t

repair table t use_frm

cache index t in hot

load index into cache t ignore leaves

prepare s from 'select ?'

prepare s from @text

execute s using @a, @b

deallocate prepare s

drop prepare s

signal sqlstate '45000' set message_text = 'no', mysql_errno = 1001

resignal

get diagnostics @n = number, @r = row_count

get diagnostics condition 1 @s = returned_sqlstate, @m = message_text

help 'select'

binlog 'AAAA'

import table from 'x.sdi'

select `a``b` from `t-1`.`c d` where `größe` = 5

select größe, straße from t where größe > 5

select a from t where a = '日本語' or b = "emoji 😀"

select T.a, t.A from T, t where T.a = t.a

select a.b.c, .t.d from a.b

select count (*), count(*), now (), max(a) from t

select user, password, host, value, type, status, name, date, time, year, timestamp, text, comment from accounts

select rank, groups, lead, system, window from t

select key_column_usage.table_name from information_schema.key_column_usage where table_schema = 'shop'

select * from performance_schema.events_statements_summary_by_digest order by sum_timer_wait desc limit 10

select a as `select`, b as 'string alias', c "other alias" from t

select 1 as `1`, 2 `2`

select a from t limit 5, 10

select a from t limit 10 offset 5

select ((1)), ((a)), ((1, 2) = (3, 4)), (((5)))

select * from t1 left join (t2 cross join t3) on t1.a = t2.a and t2.b = t3.b natural left outer join t4

select * from {oj t1 left outer join t2 on t1.a = t2.a}

select 1 from dual where 1 = 0 and (2 > 1 or 3 < 4)
