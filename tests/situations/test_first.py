from .databases import on

def test_x(app, database):
    assert app.json(lambda: [i.name for i in app.session.scalars(app.db.select(app.Item))]) == ["one", "two"]
@on("postgresql")
def test_y(app, database):
    assert database.connections() == 0
