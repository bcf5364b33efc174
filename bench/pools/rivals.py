"""Apache's prefork, php-fpm and uWSGI as Debian has them, with the handler of `bench/pools/burst`: how they are started and asked.

Each is given as (configuration, command, how one request is made). They end by SIGTERM to their master.
"""
import os
import socket
import struct

START, MOST = 5, 100

APACHE = """ServerRoot {folder}
PidFile {folder}/pid
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule lua_module /usr/lib/apache2/modules/mod_lua.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
Listen 127.0.0.1:{port}
ServerName localhost
ErrorLog {folder}/error.log
User {user}
Group {group}
StartServers 5
MinSpareServers 5
MaxSpareServers 10
MaxRequestWorkers 100
KeepAlive Off
LuaMapHandler / {folder}/slow.lua
"""
LUA = """function handle(r)
  r.usleep(200000)
  r.content_type = "text/plain"
  r:puts("hello\\n")
  return apache2.OK
end
"""
FPM = """[global]
error_log = {folder}/error.log
daemonize = no
[www]
user = {user}
group = {group}
listen = 127.0.0.1:{port}
pm = {pm}
pm.max_children = 100
pm.start_servers = 5
pm.min_spare_servers = 5
pm.max_spare_servers = 10
pm.process_idle_timeout = 10s
"""
PHP = '<?php usleep(200000); echo "hello\\n";'
WSGI = """import time
def application(environ, start):
    time.sleep(0.2)
    start("200 OK", [("Content-Length", "6")])
    return [b"hello\\n"]
"""


def http(port):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    return b" 200 OK\r\n" in answer[:20]


def fastcgi(script):
    """One request by FastCGI, as a web server in front makes it."""
    def record(kind, body):
        return struct.pack("!BBHHBB", 1, kind, 1, len(body), 0, 0) + body
    names = {"SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/", "REQUEST_URI": "/"}
    words = b"".join(bytes([len(name), len(value)]) + (name + value).encode() for name, value in names.items())
    request = record(1, struct.pack("!HB5x", 1, 0)) + record(4, words) + record(4, b"") + record(5, b"")

    def ask(port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(request)
            answer = b""
            while piece := client.recv(4096):
                answer += piece
        return b"hello" in answer
    return ask


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def make(name, folder, port):
    """The command of a rival, and how it is asked; `None` if it is not installed."""
    os.chmod(folder, 0o755)
    root = os.geteuid() == 0
    words = {"folder": folder, "port": port, "user": "www-data" if root else os.getuid(), "group": "www-data" if root else os.getgid()}
    php = write(os.path.join(folder, "slow.php"), PHP)
    write(os.path.join(folder, "slow.lua"), LUA)
    app = write(os.path.join(folder, "app.py"), WSGI)
    if name == "apache2":
        return ["/usr/sbin/apache2", "-DFOREGROUND", "-f", write(os.path.join(folder, "conf"), APACHE.format(**words))], http
    if name.startswith("php-fpm"):
        pm = name.split()[1]
        conf = write(os.path.join(folder, "conf"), FPM.format(pm=pm, **words))
        return ["/usr/sbin/php-fpm8.2", "-F", "-n", "-y", conf], fastcgi(php)
    return ["/usr/bin/uwsgi-core", "--plugin", "python3", "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", str(MOST),
            "--cheaper", str(START), "--cheaper-initial", str(START), "--cheaper-algo", "spare", "--cheaper-step", "1",
            "--cheaper-overload", "3", "--listen", "100", "--disable-logging", "--die-on-term", "--wsgi-file", app], http


ALL = ["apache2", "php-fpm dynamic", "php-fpm ondemand", "uwsgi spare"]
# The policies of `doula up` that are made like them.
LIKE = {"apache": "apache2", "fpm-dynamic": "php-fpm dynamic", "fpm-ondemand": "php-fpm ondemand", "uwsgi-spare": "uwsgi spare"}
