//! What becomes of the files of others; every result is a good doula.toml.

use super::*;
use doula_model::recipe::FamilySpec;

const SUPERVISORD: &str = r#"
[unix_http_server]
file=/tmp/supervisor.sock

[supervisord]
nodaemon=true
environment=TZ="UTC"

[group:all]
programs=web,worker

[program:web]
command=/usr/bin/gunicorn app:app --name %(program_name)s -b 127.0.0.1:80%(process_num)02d ; the web
directory=/tmp
user=root
numprocs=3
process_name=%(program_name)s_%(process_num)02d
environment=A="1, 2",
  B='%(ENV_HOME)s',C=3%%
autorestart=unexpected
exitcodes=0,2
stopsignal=INT
stopwaitsecs=30
stopasgroup=true
killasgroup=true
stdout_logfile=/var/log/web.log
priority=10

[program:worker]
command=python worker.py "two words" '$HOME'
autostart=false
autorestart=true
startsecs=5
umask=022
"#;

const UNIT: &str = r#"
[Unit]
Description=The web
Requires=db.service
After=network.target db.service
StartLimitBurst=3
StartLimitIntervalSec=1min

[Service]
Type=notify
ExecStartPre=/bin/mkdir -p /run/web
ExecStart=-/usr/bin/web --port ${PORT} $OPTS --name %p \
  "100%%" $$HOME
ExecReload=/bin/kill -HUP $MAINPID
ExecStopPost=/bin/rm -rf /run/web
Restart=on-failure
RestartSec=5
Environment="PORT=80 80" X=1
EnvironmentFile=-/etc/default/web
User=root
WorkingDirectory=/tmp
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=1min 30s
WatchdogSec=30
LimitNOFILE=1024:infinity
Nice=5
OOMScoreAdjust=-100
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_KILL
AmbientCapabilities=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
MemoryMax=512M
CPUQuota=150%
ProtectSystem=strict

[Install]
WantedBy=multi-user.target
"#;

const COMPOSE: &str = r#"
services:
  web:
    image: example/web:1
    command: ["./web", "--db", "${DB_URL}", "--cost", "$$5"]
    ports: ["8080:80"]
    environment:
      - A=1
      - B=${X-y}
      - TOKEN
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
    restart: unless-stopped
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    user: "0:0"
    deploy:
      replicas: 2
      resources: { limits: { cpus: "0.5", memory: 256M, pids: 50 } }
    ulimits: { nofile: { soft: 1024, hard: 2048 }, nproc: -1 }
  db:
    image: postgres
    command: postgres -D data
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $${USER}"]
      interval: 10s
      timeout: 5s
      retries: 5
      start_period: 30s
  migrate:
    image: example/web:1
    entrypoint: ./migrate
    environment: { N: 1, T: true, E: null }
volumes:
  data: {}
"#;

fn imported(name: &str, text: &str) -> (String, FamilySpec) {
    let mut draft = Draft::default();
    add(Path::new(name), text, &mut draft).expect("a known format");
    systemd::finish(&mut draft);
    let text = draft.text(&[name.to_owned()]);
    let family = config::check_text(Path::new("/tmp/doula.toml"), &text);
    let family = family.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    (text, family)
}

fn golden(name: &str, text: &str, expected: &str) {
    let path = format!("{}/src/verbs/import/golden/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    assert_eq!(text, expected, "`UPDATE_GOLDEN=1 cargo test` writes {path} anew");
}

#[test]
fn a_supervisord_conf_becomes_services() {
    let (text, family) = imported("supervisord.conf", SUPERVISORD);
    golden("supervisord", &text, include_str!("golden/supervisord.toml"));
    let (_, web) = &family.services[1];
    assert_eq!(family.services.len(), 4);
    assert_eq!(web.command, ["/usr/bin/gunicorn", "app:app", "--name", "web", "-b", "127.0.0.1:802"]);
    assert_eq!(web.env.get("A"), Some("1, 2"));
    let (_, worker) = &family.services[3];
    assert_eq!(worker.command, ["python", "worker.py", "two words", "$HOME"]);
}

#[test]
fn a_systemd_unit_becomes_a_service() {
    let (text, family) = imported("web.service", UNIT);
    golden("systemd", &text, include_str!("golden/systemd.toml"));
    let (_, web) = &family.services[0];
    assert_eq!(web.command, ["/usr/bin/web", "--port", "80 80", "", "--name", "web", "100%", "$HOME"]);
}

#[test]
fn a_compose_file_becomes_services() {
    let (text, family) = imported("compose.yaml", COMPOSE);
    golden("compose", &text, include_str!("golden/compose.toml"));
    let (web, recipe) = &family.services[0];
    assert_eq!(web.name, "web@1");
    assert_eq!(recipe.command, ["./web", "--db", "", "--cost", "$5"]);
    let needed: Vec<&str> = web.deps.iter().map(|dep| dep.on.as_str()).collect();
    assert_eq!(needed, ["db", "migrate"]);
}

#[test]
fn a_procfile_becomes_services_of_a_shell() {
    let (_, family) = imported("Procfile", "web: ./server -p $PORT | cat\nworker: x\n");
    let (_, web) = &family.services[0];
    assert_eq!(web.command, ["/bin/sh", "-c", "./server -p $PORT | cat"]);
    assert_eq!(family.services[1].1.env.get("PORT"), Some("5100"));
}

#[test]
fn a_file_of_no_known_kind_is_refused() {
    let mut draft = Draft::default();
    assert!(add(Path::new("x"), "\u{7f}ELF", &mut draft).is_err());
    assert!(add(Path::new("x.yaml"), "services: [", &mut draft).is_err());
    assert!(add(Path::new("x.yaml"), "a: b", &mut draft).is_err());
}
