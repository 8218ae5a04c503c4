"""Production: `gunicorn`, in this folder, with nothing else to say."""

from flask_pool import gunicorn

# the environment, .env, then defaults.toml; SIGHUP reads them again, and the service's code
settings = gunicorn.load()

# what FLASK_APP names
wsgi_app = "flask_pool.gunicorn:application()"
bind = settings.bind
workers = settings["WEB_CONCURRENCY"]
threads = settings["WEB_THREADS"]
worker_class = "flask_pool.gunicorn.Worker"
graceful_timeout = settings.graceful_timeout
worker_tmp_dir = settings.worker_tmp_dir
# no door into the server that nobody asked for
control_socket_disable = True
# where the application lies is not for a client's header to say
forwarder_headers = ""

post_fork = gunicorn.post_fork
post_worker_init = gunicorn.post_worker_init
child_exit = gunicorn.child_exit
