PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE register (
        did INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        counter INTEGER NOT NULL DEFAULT 0,
        excess INTEGER NOT NULL DEFAULT 0
    ) STRICT;
INSERT INTO register VALUES(0,'Grid','P',3000,0);
INSERT INTO register VALUES(1,'Grid+','P',1500,0);
INSERT INTO register VALUES(2,'Heating','d',0,0);
CREATE TABLE row (ts INTEGER PRIMARY KEY, r0 INTEGER, r1 INTEGER, r2 INTEGER) STRICT;
INSERT INTO "row" VALUES(1699899580,0,0,1);
INSERT INTO "row" VALUES(1699899640,1,1,1);
INSERT INTO "row" VALUES(1699899700,1,1,1);
INSERT INTO "row" VALUES(1699899760,1,1,1);
INSERT INTO "row" VALUES(1699899820,1,1,1);
INSERT INTO "row" VALUES(1699899880,1,1,1);
INSERT INTO "row" VALUES(1699899940,1,1,1);
INSERT INTO "row" VALUES(1699900000,1,1,1);
INSERT INTO "row" VALUES(1699999880,300,400,0);
INSERT INTO "row" VALUES(1699999940,100,300,1);
INSERT INTO "row" VALUES(1700000000,0,0,0);
INSERT INTO "row" VALUES(1700000060,600,300,1);
INSERT INTO "row" VALUES(1700000120,-1800,300,0);
INSERT INTO "row" VALUES(1700000180,3000,300,1);
INSERT INTO "row" VALUES(1700000240,0,0,0);
INSERT INTO "row" VALUES(1700000300,0,0,0);
CREATE TABLE edge (
        id INTEGER PRIMARY KEY,
        did INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        counter INTEGER NOT NULL,
        more_chunks INTEGER NOT NULL,
        spacing INTEGER NOT NULL,
        moved_ts INTEGER,
        moved TEXT,
        UNIQUE (did, ts)
    ) STRICT;
INSERT INTO edge VALUES(1,0,1699899580,493,0,60,NULL,NULL);
INSERT INTO edge VALUES(2,1,1699899580,3993,0,60,NULL,NULL);
INSERT INTO edge VALUES(3,2,1699899580,1,0,60,NULL,NULL);
CREATE TABLE ingest (did INTEGER PRIMARY KEY, counter INTEGER NOT NULL) STRICT;
INSERT INTO ingest VALUES(0,4000);
INSERT INTO ingest VALUES(1,6500);
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE op(
             id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, created TEXT NOT NULL, user TEXT NOT NULL,
             peer TEXT NOT NULL, digest BLOB, plan TEXT, position TEXT, progress REAL NOT NULL DEFAULT 0,
             outcome TEXT) STRICT;
INSERT INTO op VALUES(1,'zero','1795783815.720979','owner','127.0.0.1',NULL,'{"Zero":{"range":[1700000240,1700000300],"regs":[0,1,2]}}',NULL,0.0,'{"tag":null,"args":[],"text":"","result":null}');
INSERT INTO op VALUES(2,'restore','1795783815.733039','owner','127.0.0.1',X'e9a4fedaf0d911ce292bb6b8beb463fa0df0e25995b07a20ee4298d3deff8fc6','{"Restore":{"file":"/tmp/meterd-test-42upv1tk/state/staged/359e5f80b3dd8bb2","range":{"from":null,"to":null},"more_chunks":true,"header":{"registers":[["Grid","P"],["Grid+","P"],["Heating","d"]]},"columns":[{"did":0,"discrete":false,"youngest":1699999940,"top":[1699999940,900],"floor":1699999880,"spacing":60},{"did":1,"discrete":false,"youngest":1699999940,"top":[1699999940,4700],"floor":1699999880,"spacing":60},{"did":2,"discrete":true,"youngest":1699999940,"top":[1699999940,1],"floor":1699999880,"spacing":60}],"rows":2,"last":1699999880,"unpacked_bytes":67108864}}',NULL,0.0,'{"tag":null,"args":[],"text":"","result":null}');
INSERT INTO op VALUES(3,'restore','1795783815.955479','owner','127.0.0.1',X'8f1f0dba57d08fde96b12cc5cd1d4b39546f94ab698a522aa344b1c334f0adb5','{"Restore":{"file":"/tmp/meterd-test-42upv1tk/state/staged/cf0eeae17a519110","range":{"from":null,"to":null},"more_chunks":false,"header":{"registers":[["Grid","P"],["Grid+","P"],["Heating","d"]]},"columns":[{"did":0,"discrete":false,"youngest":1699900000,"top":[1699900000,500],"floor":1699899580,"spacing":60},{"did":1,"discrete":false,"youngest":1699900000,"top":[1699900000,4000],"floor":1699899580,"spacing":60},{"did":2,"discrete":true,"youngest":1699900000,"top":[1699900000,1],"floor":1699899580,"spacing":60}],"rows":8,"last":1699899580,"unpacked_bytes":67108864}}',NULL,0.0,'{"tag":null,"args":[],"text":"","result":null}');
INSERT INTO op VALUES(4,'restore','1795783819.429374','owner','127.0.0.1',X'2e4222c264af0aadb0545f566854dbd9b20f95eed7fc94d52b278e2b02682d5d','{"Restore":{"file":"/tmp/meterd-test-42upv1tk/state/staged/18df7a854c2a3cb8","range":{"from":null,"to":null},"more_chunks":false,"header":{"registers":[["Grid","P"],["Grid+","P"],["Heating","d"]]},"columns":[{"did":0,"discrete":false,"youngest":1699900000,"top":[1699900000,500],"floor":1699899520,"spacing":60},{"did":1,"discrete":false,"youngest":1699900000,"top":[1699900000,4000],"floor":1699899520,"spacing":60},{"did":2,"discrete":true,"youngest":1699900000,"top":[1699900000,1],"floor":1699899520,"spacing":60}],"rows":9,"last":1699899520,"unpacked_bytes":67108864}}',NULL,0.0,NULL);
CREATE TABLE op_token(key BLOB PRIMARY KEY, op INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO op_token VALUES(X'551e5eed0c331d3f33ce7d4b73ba3caeb23906c5b652fb050efaa1849103cf67',4);
INSERT INTO op_token VALUES(X'82b12a7707763721a7beae81a797b72ed5462cc2b7209b52f7f21ae039fcc082',3);
INSERT INTO op_token VALUES(X'a4fc34b1457180af394ec6e43985ca590b451e9965dbd9d182c8cbda8614be16',1);
INSERT INTO op_token VALUES(X'af0204913432dd5eca21819f9b67e04f95d9a64c7c5fd4b86597626f0bc8aff6',2);
CREATE TABLE op_chain(id INTEGER PRIMARY KEY CHECK(id = 1), header TEXT NOT NULL) STRICT;
CREATE TABLE ledger(
             id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT NOT NULL, user TEXT NOT NULL, peer TEXT NOT NULL,
             command TEXT NOT NULL, outcome TEXT NOT NULL) STRICT;
INSERT INTO ledger VALUES(1,'1795783815.720979','owner','127.0.0.1','db zero','begun');
INSERT INTO ledger VALUES(2,'1795783815.720979','owner','127.0.0.1','db zero','OK');
INSERT INTO ledger VALUES(3,'1795783815.733039','owner','127.0.0.1','db restore','begun');
INSERT INTO ledger VALUES(4,'1795783815.733039','owner','127.0.0.1','db restore','OK');
INSERT INTO ledger VALUES(5,'1795783815.955479','owner','127.0.0.1','db restore','begun');
INSERT INTO ledger VALUES(6,'1795783815.955479','owner','127.0.0.1','db restore','OK');
INSERT INTO ledger VALUES(7,'1795783819.429374','owner','127.0.0.1','db restore','begun');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('ledger',7);
INSERT INTO sqlite_sequence VALUES('op',4);
PRAGMA user_version = 1;
COMMIT;
