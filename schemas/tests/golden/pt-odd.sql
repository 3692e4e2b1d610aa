select a from t order by a asc, b asc asc, ascii(c) asc
select a from t order by a asc limit 5, 6
select 1 union select 1, b
select a from t where b in (1,2) , (3) and c in(select 1)
select a from t where (a, b) in ((1,2),(3,4))
select a from t where a in (1, b, 3)
select '' from t where a = 'it''s' and b = 'a\'b' and c = "x\\"
select 'unfinished from t where a = 5
select /**/ 1 /* x */ , 2
select /*!50000 1 */, /*+ NO_INDEX(t) */ 2 /* unfinished
call  P1 (1)
 Call Db.P1(1, f(2))
CALL p()
SELECT 0x1F, 0x1f, x'1F', X'1F', b'1', B'1', -5, a-1, a - 1, 1e-5, 1E5, .5, +5
select db12.t1, foo_1, größe, É from T where a=TRUE or b = False
select null, a is null, nullif(a, null), not_null from t where b is NOT NULL
insert into t values (1,'a'),(2,'b') on duplicate key update a = values(a)
INSERT IGNORE INTO t (a, b) VALUES (1, now()), (2, now())
replace into t value (1), (2)
insert into t (a) values (1)
insert low_priority into t values (1), (2)
insert into t select a from u where b in (1, 2)
select 1 limit 5,10
select 1 limit 5 , 10
select * from a limit 5 offset 3 union all select * from a limit 6 offset 3
select a from t union select a from t union all select a from t
(select a from t) union (select a from t)
use Db1
use `my db`
select 1 -- x
select 1 # it's
select a--1 from t
select 1 #
select	a ,  b from   t where  c   = 5 
SELECT /*!40001 SQL_NO_CACHE */ * FROM `orders`
select /*!40001 SQL_NO_CACHE */ * from `orders`
REPLACE /*db.tbl:3/9*/ INTO checksums values (1)
select /*db.tbl:13/9*/ 1
set @a=1, @@session.sql_mode='x'
select a from t where md5 = 'x' or name = d41d8cd98f00b204e9800998ecf8427e
select x.y? from t where a = ?
select a from t where b between 1 and 5 order by 1 asc, 2 desc
load data infile 'x' into table t
select inet_aton('1.2.3.4'), 5 in (5), min(5), values(?)
select a from t order by find_in_set(id, '1,2,3') ascending
select 'a' 'b', _utf8mb4'x', N'x', date'2020-01-01'
select `a``b`, `c'd`, `e"f` from `t`
select 1; select 2
SELECT A FROM T WHERE B='x' /* trailing */
